"""The number of threads of a training: found where it helps, kept where bits are promised."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY

import diptych
from diptych.host.processor import cores_allowed
from diptych.settings import build_config, merge
from diptych.training import distributed
from diptych.training.step import Stepper
from diptych.training.threads import (
    LONGEST_WAIT,
    ThreadTuner,
    numbers_to_try,
    quickest_threads,
    tunes_threads,
)

Machine = Callable[[float, int], float]  # seconds of a step: at a time, with so many threads


def numbers_taken(
    machine: Machine, most: int, until: float, alike: int = 1
) -> list[tuple[float, int]]:
    """When each step ended, and with how many threads it was made, on a made-up machine.

    Steps vary by a tenth, and the first of ``alike`` ones costs twice as much as the others.
    """
    chance = np.random.default_rng(0)
    search = quickest_threads(most, alike)
    threads, now = next(search), 0.0
    taken = []
    for step in count():
        seconds = machine(now, threads) * chance.uniform(0.95, 1.05)
        seconds *= 2 if alike > 1 and step % alike == 0 else 1
        now += seconds
        taken.append((now, threads))
        threads = search.send(seconds)
        if now > until:
            return taken
    raise AssertionError


def share(taken: list[tuple[float, int]], threads: int, begin: float, end: float) -> float:
    """The share of the time from ``begin`` to ``end`` that went into steps of so many threads."""
    ends = [0.0, *(now for now, _ in taken)]
    spent = [
        now - before
        for before, (now, used) in zip(ends, taken, strict=False)
        if begin < now <= end and used == threads
    ]
    return sum(spent) / (end - begin)


def as_measured(busy_from: float, busy_to: float) -> Machine:
    """Two cores of which another program takes one for a while (``benchmarks/beside.py``)."""

    def machine(now: float, threads: int) -> float:
        busy = busy_from <= now < busy_to
        return {(2, False): 0.07, (1, False): 0.1, (2, True): 0.28, (1, True): 0.1}[threads, busy]

    return machine


@pytest.mark.parametrize("alike", [1, 4])
def test_an_idle_machine_is_used_whole(alike: int) -> None:
    taken = numbers_taken(as_measured(1e9, 1e9), 2, 300, alike)
    assert share(taken, 2, 0, 300) > 0.98


@pytest.mark.parametrize("alike", [1, 4])
def test_a_core_is_left_to_another_program_while_it_runs(alike: int) -> None:
    taken = numbers_taken(as_measured(60, 300), 2, 600, alike)
    assert share(taken, 2, 5, 60) > 0.98
    assert share(taken, 1, 75, 300) > 0.95
    assert share(taken, 2, 300 + LONGEST_WAIT + 10, 600) > 0.98


def test_busy_from_the_start() -> None:
    assert share(numbers_taken(as_measured(0, 1e9), 2, 300), 1, 10, 300) > 0.95


def test_a_moment_of_other_work_changes_nothing() -> None:
    taken = numbers_taken(as_measured(60, 60.4), 2, 120)
    assert share(taken, 2, 10, 120) == pytest.approx(1, abs=0.01)


def test_4_of_64_cores_are_free() -> None:
    def machine(now: float, threads: int) -> float:
        return 0.4 / min(threads, 4) * (1 if threads <= 4 else threads / 2)

    assert share(numbers_taken(machine, 64, 900), 4, 90, 900) > 0.95


def test_it_never_takes_more_than_it_was_given_or_none() -> None:
    chance = np.random.default_rng(1)
    taken = numbers_taken(lambda now, threads: float(chance.uniform(0.01, 0.5)), 6, 600)
    assert {threads for _, threads in taken} == set(numbers_to_try(6)) == {1, 3, 5, 6}


@pytest.mark.parametrize(("seconds", "noise"), [(0.05, 0.3), (1.0, 0.3), (5.0, 0.3)])
def test_steps_that_vary_are_not_taken_for_slow_ones(seconds: float, noise: float) -> None:
    chance = np.random.default_rng(2)
    longer = {8: 1, 7: 1.12, 4: 1.8, 2: 3.4, 1: 6.6}

    def machine(now: float, threads: int) -> float:
        return seconds * longer[threads] * chance.uniform(1 - noise, 1 + noise)

    taken = numbers_taken(machine, 8, 4000 * seconds)
    assert share(taken, 8, 100 * seconds, 4000 * seconds) > 0.95


def test_long_steps_are_seldom_tried_with_more_threads() -> None:
    """Where another program is there to stay a try costs three steps' time for each of its own."""
    taken = numbers_taken(lambda now, threads: {1: 20.0, 2: 60.0}[threads], 2, 40_000)
    assert share(taken, 1, 2000, 40_000) > 0.9


@pytest.mark.parametrize(
    ("training", "tuned"),
    [
        ({"minutes": 1}, True),
        ({"steps": 10}, False),
        ({"epochs": 1}, False),
        ({"minutes": 1, "tune_threads": False}, False),
        ({"steps": 10, "tune_threads": True}, True),
    ],
)
def test_what_can_be_repeated_keeps_its_threads(
    training: dict[str, float | bool], tuned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, cpu = build_config({"training": training}), torch.device("cpu")
    assert tunes_threads(config, cpu, compiled=False) is tuned
    assert not tunes_threads(config, cpu, compiled=True)
    assert not tunes_threads(config, torch.device("cuda"), compiled=False)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)  # (whose steps wait for the others)
    assert not tunes_threads(config, cpu, compiled=False)


def test_steps_on_pictures_of_their_own_sizes_cannot_be_compared() -> None:
    own = {"data": {"preprocess": "none"}, "training": {"minutes": 1}}
    assert not tunes_threads(build_config(own), torch.device("cpu"), compiled=False)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many of PyTorch for the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_number_is_of_the_step_alone() -> None:
    with threads(2):
        tuner = ThreadTuner(alike=1)
        tuner.threads = 1
        with tuner.timing():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        tuner.threads = 1
        with suppress(ZeroDivisionError), tuner.timing():
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("length", "numbers"), [("minutes", {1, 2}), ("steps", {2})])
def test_in_a_training(
    length: str, numbers: set[int], towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By minutes fewer are tried, by steps never. Time is made up: each step takes a second.

    (Whoever resumes a run by minutes with another number is told nothing: it repeats no bits.)
    """
    seen: set[int] = set()
    clock = count()
    monkeypatch.setattr("diptych.training.threads.time.perf_counter", lambda: float(next(clock)))
    made = Stepper.step

    def step(self: Stepper, *arguments: Any) -> None:
        seen.add(torch.get_num_threads())
        made(self, *arguments)

    monkeypatch.setattr(Stepper, "step", step)

    def train(**more: Any) -> diptych.Run:
        return diptych.train(data=towns, run=tmp_path / "run", preset="repaint", **more)

    def stop(status: diptych.Status) -> None:
        if status.step == 30:
            raise StopIteration

    settings = merge(TINY, {"training": {"steps": None, length: 1000}})
    with threads(2):
        with suppress(StopIteration):
            train(settings=settings, watch=stop)
        assert seen == numbers
        assert torch.get_num_threads() == 2
    with threads(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(resume=True, max_minutes=0)
    said = [str(warning.message) for warning in caught]
    assert any("threads 2 and goes on with 1" in line for line in said) is (length == "steps")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "10000 100000\n"}, 1.0),
        ({"cpu.max": "max 100000\n"}, 8.0),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8.0),
        ({"cpu.max": "of another kind"}, 8.0),
        ({}, 8.0),
    ],
)
def test_cores_of_a_container(
    files: dict[str, str], cores: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores_allowed(tmp_path) == cores
