"""Training steps beside other programs: as many threads as cores, and as many as are quickest.

    python benchmarks/beside.py
    python benchmarks/beside.py --preset repaint --busy 0 1 2

The other programs are loops that do nothing, each of which takes a core if it gets one. Both ways
train in turns; the search for the number of threads begins in the first and goes on in all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from measure import Times, options, report, start, table
from step import in_memory

from diptych.config import Config
from diptych.host.memory import freed_memory_kept
from diptych.training.choice import make_config

COLUMNS = ["preset", "busy loops", "all threads, ms", "diptych, ms", "times as fast", "threads"]


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many other programs, each busy all the time."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def config_of(preset: str, tunes: bool) -> Config:
    return make_config(
        preset, settings={"training": {"device": "cpu", "minutes": 60, "tune_threads": tunes}}
    )


def measure(preset: str, busy: int, seconds: float, rounds: int) -> list[object]:
    """One row of the table."""
    device = torch.device("cpu")
    trainings = {
        "all": in_memory(config_of(preset, False), device),
        "tuned": in_memory(config_of(preset, True), device),
    }
    found: dict[str, list[float]] = {name: [] for name in trainings}
    with busy_loops(busy):
        for _ in range(rounds):
            for name, training in trainings.items():
                steps, begun = 0, time.perf_counter()
                while (took := time.perf_counter() - begun) < seconds:
                    training.step()
                    steps += 1
                found[name].append(took / steps)
    tuner = trainings["tuned"].tuner
    assert tuner is not None
    times = Times(found)
    return [
        preset, busy, 1e3 * times.median("all"), 1e3 * times.median("tuned"),
        times.ratio_text("all", "tuned"), tuner.threads,
    ]  # fmt: skip


def main() -> None:
    parser = options(__doc__, seconds=20)
    parser.add_argument("--preset", nargs="+", default=["laptop", "repaint"])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, os.cpu_count() or 1])
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    start(given)
    with freed_memory_kept(torch.device("cpu")):
        rows = [
            measure(preset, busy, given.seconds, given.rounds)
            for preset in given.preset
            for busy in given.busy
        ]
    report("A training step beside other programs", table(COLUMNS, rows), given)


if __name__ == "__main__":
    main()
