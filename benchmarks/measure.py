"""Timing side by side: variants in turns in one process, medians, tables, and the record.

A machine has other work, and clocks that change: only what ran in turns can be compared. So every
round times each variant once, and a ratio is the median of the ratios of all rounds.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")
SLOW = 1.0
SHORTEST = 0.05  # seconds that one timing takes at least: quicker calls are repeated in it


@dataclass(frozen=True)
class Times:
    """Seconds of one call of each variant, round by round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratios(self, slow: str, fast: str) -> list[float]:
        """How many times as long ``slow`` took as ``fast``, in each round; in order of size."""
        both = zip(self.seconds[slow], self.seconds[fast], strict=True)
        return sorted(s / f for s, f in both)

    def ratio(self, slow: str, fast: str) -> float:
        return statistics.median(self.ratios(slow, fast))

    def ratio_text(self, slow: str, fast: str) -> str:
        """The median ratio and, where there are enough rounds, its quartiles."""
        ratios = self.ratios(slow, fast)
        text = f"{statistics.median(ratios):.2f}"
        if len(ratios) < 4:
            return text
        low, _, high = statistics.quantiles(ratios, n=4)
        return f"{text} ({low:.2f} to {high:.2f})"


def in_turns(
    variants: Mapping[str, Callable[[], object]],
    device: torch.device,
    seconds: float = 20,
    least: int = 3,
    most: int = 101,
) -> Times:
    """Time all variants in turns for about ``seconds``, in ``least`` to ``most`` rounds.

    Each runs once before, unmeasured. The order turns round from one round to the next.
    """
    calls = {}
    for name, run in variants.items():
        once = _timed(run, 1, device)
        if once < SLOW:  # (else it would be called once in a timing anyway)
            once = _timed(run, 1, device)
        calls[name] = max(1, round(SHORTEST / max(once, 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in variants}
    started = time.perf_counter()
    order = list(variants)
    gc.collect()
    gc.disable()
    try:
        for done in range(most):
            if done >= least and time.perf_counter() - started > seconds:
                break
            for name in order:
                took = _timed(variants[name], calls[name], device)
                found[name].append(took / calls[name])
            order.reverse()
    finally:
        gc.enable()
    return Times(found)


def _timed(run: Callable[[], object], calls: int, device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    for _ in range(calls):
        run()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def resident_bytes() -> int:
    """What this process holds in memory now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not Linux
        return peak_resident_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int:
    """The most that this process has held in memory.

    (Linux counts what the process that started this one held into the usual figure.)
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def options(doc: str | None, seconds: float) -> argparse.ArgumentParser:
    """A command line with what all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="append the table to RESULTS.md")
    parser.add_argument("--note", default="", help="a remark to print and record below the table")
    parser.add_argument("--threads", type=int, help="of PyTorch; default: all cores")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="for each comparison (%(default)s)"
    )
    return parser


def start(given: argparse.Namespace) -> None:
    """Settings that hold for the whole benchmark."""
    if given.threads:
        torch.set_num_threads(given.threads)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers stand to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    lines = [" | ".join(name.ljust(width) for name, width in zip(columns, widths, strict=True))]
    lines.append(
        " | ".join(
            "-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)
        )
    )
    for row in cells:
        lines.append(
            " | ".join(
                value.ljust(width) if i == 0 else value.rjust(width)
                for i, (value, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def report(title: str, text: str, given: argparse.Namespace) -> None:
    """Print a result; with ``--record`` also append it to RESULTS.md."""
    remarks = "\n".join(line for line in (machine(), given.note) if line)
    entry = f"## {title}\n\n{remarks}\n\n{text}\n"
    print(entry)
    if given.record:
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write(f"\n{entry}")


def machine() -> str:
    """Date, machine and versions, in one line; and what else ran, by the system's load."""
    parts = [
        datetime.date.today().isoformat(),
        f"{_processor()}, {os.cpu_count()} cores",
        torch.backends.cpu.get_cpu_capability(),
    ]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    parts += [
        f"PyTorch {torch.__version__}",
        f"{torch.get_num_threads()} threads",
        f"Python {platform.python_version()}",
    ]
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f}")
    return "; ".join(parts) + "."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
