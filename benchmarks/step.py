"""One whole training step (both G, both D, both optimizers): plain against diptych.

    python benchmarks/step.py                               # a few cases, about two minutes
    python benchmarks/step.py --size 256 --width 64 --batch 1 2
    python benchmarks/step.py --size 64 --width 16 --blocks 3 --layers 2 --upsample resize
    python benchmarks/step.py --device cuda --size 256 --width 64 --blocks 9 --batch 1 8

All combinations of the sizes, widths and batches given are measured. Plain gets its batches ready
made; diptych cuts its own, keeps its history and guards against NaN, as in a real training. On the
CPU plain too keeps the memory that it frees, being in the same process: alone it is a bit slower.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from flops import training_step
from limit import best_rate, has_bf16
from measure import (
    in_turns,
    options,
    peak_resident_bytes,
    report,
    resident_bytes,
    start,
    table,
    wait_for,
)
from pictures import domain_in_memory
from plain import Plain
from torch import Tensor

from diptych.config import Config
from diptych.data.batches import Batches
from diptych.data.domain import Domain
from diptych.host.memory import freed_memory_kept
from diptych.host.surroundings import quickest_convolutions
from diptych.settings import build_config
from diptych.training.compiled import compiles
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer

PICTURES = 16  # of each domain
STEPS_FOR_MEMORY = 2  # the second has the optimizers' memory too
STEPS_TO_RECORD = 5  # after them a GPU plays back what it was shown


def case_config(given: argparse.Namespace, size: int, width: int, batch: int) -> Config:
    """The published training on these shapes."""
    return build_config(
        {
            "data": {"size": size},
            "generator": {
                "width": width, "blocks": given.blocks, "upsample": given.upsample
            },
            "discriminator": {"width": width, "layers": given.layers},
            "training": {
                "steps": 10**6, "batch": batch, "device": given.device,
                "precision": given.precision, "compile": given.compile,
            },
        }
    )  # fmt: skip


def domains(config: Config) -> tuple[Domain, Domain]:
    """Pictures of the size that crops are cut from."""
    side = config.data.size * 286 // 256
    return domain_in_memory(PICTURES, side, 0), domain_in_memory(PICTURES, side, 1000)


class PlainTraining:
    """Plain on ready-made batches."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.plain = Plain(config, 3, device)
        batch = config.training.batch
        a, b = domains(config)
        cut_a, cut_b = (
            Batches(domain, config.data, config.training.seed, stream, device)
            for stream, domain in enumerate((a, b))
        )
        self.batches: list[tuple[Tensor, Tensor]] = [
            (
                cut_a.at(i * batch, batch).contiguous(),
                cut_b.at(i * batch, batch).contiguous(),
            )
            for i in range(4)
        ]
        self.number = 0

    def step(self) -> None:
        self.plain.step(*self.batches[self.number % len(self.batches)])
        self.number += 1


def in_memory(config: Config, device: torch.device) -> Trainer:
    """A real training, whose pictures are in memory and whose run folder is never written."""
    return Trainer(config, RunFolder(Path(tempfile.gettempdir())), *domains(config), device)


def make(name: str, config: Config, device: torch.device) -> PlainTraining | Trainer:
    """A training that can ``step``: plain, or diptych in the config's precision."""
    return PlainTraining(config, device) if name == "plain" else in_memory(config, device)


def memory(name: str, given: argparse.Namespace, shape: tuple[int, int, int]) -> float:
    """The most bytes that some steps take beyond what importing takes, in a process of its own."""
    size, width, batch = map(str, shape)
    command = [sys.executable, __file__, "--memory", name, "--device", given.device,
               "--size", size, "--width", width, "--batch", batch, "--blocks", str(given.blocks),
               "--layers", str(given.layers), "--upsample", given.upsample,
               "--precision", given.precision,
               "--compile" if given.compile else "--no-compile"]  # fmt: skip
    if given.threads:
        command += ["--threads", str(given.threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_memory(name: str, config: Config, device: torch.device) -> None:
    """What ``memory`` asks of its process."""
    before = resident_bytes()
    with freed_memory_kept(device) if name == "diptych" else nullcontext():
        training = make(name, config, device)
        for _ in range(STEPS_FOR_MEMORY):
            training.step()
    print(peak_resident_bytes() - before)


def memory_on_card(training: PlainTraining | Trainer, device: torch.device) -> float:
    """What PyTorch holds of a GPU's memory while steps go on.

    Recordings and all that is kept for the next step count, what was tried at first does not.
    """
    for steps in (STEPS_TO_RECORD, STEPS_FOR_MEMORY):
        card_bytes(device)
        for _ in range(steps):
            training.step()
        wait_for(device)
    return float(torch.cuda.memory_reserved(device))


def card_bytes(device: torch.device) -> float:
    """What PyTorch holds of a GPU's memory and cannot do without."""
    torch.cuda.empty_cache()
    return float(torch.cuda.memory_reserved(device))


def measure(
    given: argparse.Namespace, shape: tuple[int, int, int], limits: dict[str, float]
) -> list[object]:
    """One row of the table."""
    device = torch.device(given.device)
    config = case_config(given, *shape)
    on_card = device.type == "cuda"
    trainings: dict[str, PlainTraining | Trainer] = {}
    held: dict[str, float] = {}
    for name in ("plain", "diptych"):
        before = card_bytes(device) if on_card else 0.0
        begun = time.perf_counter()
        trainings[name] = make(name, config, device)
        trainings[name].step()
        wait_for(device)
        first = time.perf_counter() - begun  # (of the last one, diptych)
        if on_card:
            held[name] = memory_on_card(trainings[name], device) - before
    times = in_turns({n: t.step for n, t in trainings.items()}, device, given.seconds)
    stepper = trainings["diptych"].stepper  # type: ignore[union-attr]
    precision = str(stepper.precision).removeprefix("torch.")
    operations = training_step(config)
    rate = operations / times.median("diptych")
    if not on_card:
        held = {name: memory(name, given, shape) for name in trainings}
    bytes_plain, bytes_diptych = held["plain"], held["diptych"]
    return [
        f"{shape[0]} px", shape[1], shape[2], precision,
        operations / 1e9, times.median("plain"), times.median("diptych"),
        times.ratio_text("plain", "diptych"), first, rate / 1e9,
        f"{rate / limits[precision]:.0%}" if precision in limits else "-",
        bytes_plain / 1e6, bytes_diptych / 1e6, f"{bytes_diptych / bytes_plain:.2f}",
    ]  # fmt: skip


COLUMNS = [
    "size", "width", "batch", "precision", "GFLOP", "plain, s", "diptych, s", "times as fast",
    "first step, s", "GFLOP/s", "of limit", "plain, MB", "diptych, MB", "memory",
]  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = options(__doc__, seconds=20)
    parser.add_argument("--size", type=int, nargs="+", default=[64, 128], help="64 128 256")
    parser.add_argument("--width", type=int, nargs="+", default=[32], help="16 32 64")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="1 2 4 8")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--layers", type=int, default=3, help="of the discriminators")
    parser.add_argument("--upsample", default="transpose", choices=["transpose", "resize"])
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bf16", "fp16"])
    compiled = argparse.BooleanOptionalAction
    parser.add_argument("--compile", action=compiled, help="diptych with or without (GPU: with)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--memory", choices=["plain", "diptych"], help=argparse.SUPPRESS)
    return parser


def main() -> None:
    given = arguments().parse_args()
    start(given)
    device = torch.device(given.device)
    shapes = list(itertools.product(given.size, given.width, given.batch))
    # (As asked for, or usual.)
    given.compile = compiles(case_config(given, *shapes[0]), None, device)
    if given.memory:
        print_memory(given.memory, case_config(given, *shapes[0]), device)
        return
    dtypes = [torch.float32] + ([torch.bfloat16] if has_bf16(device) else [])
    limits = {}
    lines = []
    for dtype in dtypes:
        rate, name = best_rate(dtype, device), str(dtype).removeprefix("torch.")
        limits[name] = rate.operations
        lines.append(f"{name} {rate.operations / 1e9:.0f} GFLOP/s ({rate.what})")
    with freed_memory_kept(device):
        rows = [measure(given, shape, limits) for shape in shapes]
    text = (
        f"{given.blocks} blocks, {given.upsample} upsampling, {given.layers} layers in D, on "
        f"{given.device}{', diptych compiled' if given.compile else ''}. "
        f"Limit: {'; '.join(lines)}.\n\n{table(COLUMNS, rows)}"
    )
    report("A training step", text, given)


if __name__ == "__main__":
    with quickest_convolutions():  # (for both, as the usual implementation has it)
        main()
