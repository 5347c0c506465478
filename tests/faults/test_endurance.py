"""A long training takes no more memory, files, threads or time per step at its end than before.

Slow: ``pytest -m slow tests/faults/test_endurance.py``; the usual test command runs a short form.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TINY, start

from diptych.training.run_folder import RunFolder

OPTIONS = [
    *(f"--set=generator.{key}={value}" for key, value in TINY["generator"].items()),
    *(f"--set=discriminator.{key}={value}" for key, value in TINY["discriminator"].items()),
    *("--size", "16", "--precision", "float32", "--set", "discriminator.augment=true"),
    *("--set", "training.device=cpu", "--set", "training.ema_half_life=50"),
]


@dataclass(frozen=True)
class Use:
    """What a process holds at one moment."""

    step: int
    memory: int  # resident, in kB
    files: int
    threads: int


def watch(options: list[str], run: Path, looks: int) -> list[Use]:
    """Train to the end, looking at the process at ``looks`` evenly spaced steps."""
    process = start("train", "--run", run, *options)
    place = Path("/proc") / str(process.pid)
    folder, seen = RunFolder(run), []
    steps = int(options[options.index("--steps") + 1])
    due = [steps * (i + 1) // (looks + 1) for i in range(looks)]
    while process.poll() is None:
        lines = folder.read_metrics()
        if lines and due and lines[-1]["step"] >= due[0]:
            status = dict(
                line.split(":", 1) for line in (place / "status").read_text().splitlines()
            )
            memory, threads = int(status["VmRSS"].split()[0]), int(status["Threads"])
            files = len(os.listdir(place / "fd"))
            seen.append(Use(int(lines[-1]["step"]), memory, files, threads))
            due.pop(0)
        time.sleep(0.1)
    assert process.returncode == 0, process.communicate()[1]
    return seen


def grows_not(towns: Path, run: Path, steps: int, every: int) -> list[Use]:
    options = [
        "--data", str(towns), *OPTIONS, "--steps", str(steps),
        "--set", f"training.checkpoint_every={every}", "--set", f"training.sample_every={every}",
        "--set", f"training.log_every={every // 5}",
    ]  # fmt: skip
    seen = watch(options, run, looks=8)
    warm, *later = seen[1:]  # by then caches and histories are full
    assert len(later) >= 5
    for use in later:
        assert use.memory <= 1.03 * warm.memory, seen
    # A look may fall into the writing of a checkpoint: one file open for a moment is no leak, and
    # what leaks is still there at every later look.
    assert min(use.files for use in later[-3:]) <= warm.files, seen
    assert min(use.threads for use in later[-3:]) <= warm.threads, seen
    return seen


def test_a_short_training_does_not_grow(towns: Path, tmp_path: Path) -> None:
    grows_not(towns, tmp_path / "run", steps=700, every=25)


@pytest.mark.slow
def test_20000_steps_do_not_grow(towns: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    seen = grows_not(towns, run, steps=20_000, every=500)
    lines = RunFolder(run).read_metrics()
    seconds = [b["seconds"] - a["seconds"] for a, b in itertools.pairwise(lines)]
    third = len(seconds) // 3
    early, late = sorted(seconds[:third])[third // 2], sorted(seconds[-third:])[third // 2]
    print(f"\n{seen}\nmedian time of {lines[0]['step']} steps: {early:.2f} s, later {late:.2f} s")
    assert len(lines) == 200
