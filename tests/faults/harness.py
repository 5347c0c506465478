"""Real training processes to be killed, and what is left of their runs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command import LONGEST
from conftest import TINY_OPTIONS

HERE = Path(__file__).parent
ALONE = [sys.executable, str(HERE / "slow_disk.py"), "train"]
TOGETHER = [
    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
    "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
    str(HERE / "slow_disk.py"), "--", "train",
]  # fmt: skip
# Everything that has a state of its own is on, and something is written at nearly every step.
EVERYTHING = [
    *TINY_OPTIONS,
    *("--batch", "1", "--accumulate", "2"),
    *("--set", "training.history=3", "--set", "training.judged=3", "--set", "loss.noise=0.1"),
    *("--set", "training.untouched=1", "--set", "loss.cycle_every=3"),
    *("--set", "training.ema_half_life=5", "--set", "discriminator.augment=true"),
    *("--set", "generator.dropout=0.2", "--set", "optimizer.schedule=plateau"),
    *("--set", "training.checkpoint_every=1", "--set", "training.log_every=2"),
    *("--set", "training.sample_every=5"),
]


def launch(command: Sequence[str], *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a training; its output is thrown away but for errors."""
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a training that is to end well."""
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err


def train_with_kills(
    command: Sequence[str], options: Sequence[str | Path], run: Path, kills: int, seed: int
) -> int:
    """Start a run, kill it ``kills`` times, resume it to its end; returns how many kills hit."""
    rng = random.Random(seed)
    hits = 0
    for number in range(kills):
        if (run / "config.yaml").exists():
            process = launch(command, "--run", run, "--resume")
        else:
            process = launch(command, "--run", run, *options)
        if number % 5 == 4:
            time.sleep(rng.uniform(0, 3))  # while it starts
        else:
            wait_for_writing(process, run)
            time.sleep(rng.uniform(0, 1))
        hits += process.poll() is None
        os.kill(rng.choice(workers(process)), signal.SIGKILL)
        process.communicate(timeout=LONGEST)  # (torchrun ends the others)
    finish(launch(command, "--run", run, *(["--resume"] if has_begun(run) else options)))
    return hits


def has_begun(run: Path) -> bool:
    return (run / "data.json").exists()


def wait_for_writing(process: subprocess.Popen[str], run: Path) -> None:
    """Return when the process has written to the run's checkpoints, or has ended."""
    before = names(run)
    while process.poll() is None and names(run) <= before:
        time.sleep(0.005)


def names(run: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(run / "checkpoints")}
    except FileNotFoundError:
        return set()


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that train: the children of torchrun, or the process itself."""
    children = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == process.pid:
            children.append(int(entry.name))
    return children or [process.pid]


def contents(run: Path) -> dict[str, Any]:
    """All that a training made, but for the times it took."""
    found: dict[str, Any] = {}
    for path in run.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.name] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    newest = max((run / "checkpoints").glob("step-*"))
    found["newest"] = newest.name
    for path in [*newest.glob("*.safetensors"), *run.glob("*.safetensors"), *run.glob("samples/*")]:
        found[str(path.relative_to(run))] = path.read_bytes()
    return found


def last_step(run: Path) -> int:
    """The step of the newest whole checkpoint."""
    return max(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))


def leftovers(run: Path) -> list[str]:
    """What should not be there any more: files half written, locks."""
    return [str(path) for path in run.rglob(".*")]
