"""The number of threads of a training: found where it helps, kept where bits are promised."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY

import diptych
from diptych.config import Config
from diptych.settings import build_config, merge
from diptych.training.threads import (
    LONGEST_WAIT,
    ThreadTuner,
    numbers_to_try,
    quickest_threads,
    threads_given_back,
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


def test_a_container_that_may_use_4_of_64_cores() -> None:
    def machine(now: float, threads: int) -> float:
        return 0.4 / min(threads, 4) * (1 if threads <= 4 else threads / 2)

    assert share(numbers_taken(machine, 64, 300), 4, 30, 300) > 0.95


def test_it_never_takes_more_than_it_was_given_or_none() -> None:
    chance = np.random.default_rng(1)
    taken = numbers_taken(lambda now, threads: float(chance.uniform(0.01, 0.5)), 6, 600)
    assert {threads for _, threads in taken} == set(numbers_to_try(6)) == {1, 3, 5, 6}


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
    training: dict[str, float | bool], tuned: bool
) -> None:
    config: Config = build_config({"training": training})
    assert tunes_threads(config, torch.device("cpu")) is tuned
    assert not tunes_threads(config, torch.device("cuda"))


def test_the_number_is_set_and_given_back() -> None:
    before = torch.get_num_threads()
    with threads_given_back():
        torch.set_num_threads(2)
        tuner = ThreadTuner(alike=1)
        seen = set()
        for _ in range(30):
            with tuner.timing():
                seen.add(torch.get_num_threads())
                torch.ones(2**16).cumsum(0)
        assert seen <= {1, 2}
        assert 2 in seen
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("length", "numbers"), [({"minutes": 0.06}, {1, 2}), ({"steps": 30}, {2})])
def test_in_a_training(
    length: dict[str, float], numbers: set[int], towns: Path, tmp_path: Path
) -> None:
    """By minutes fewer are tried once at least, by steps never; and the program gets its own back.

    (Whoever resumes a run by minutes with another number is told nothing: it repeats no bits.)
    """
    seen: set[int] = set()
    settings = merge(TINY, {"training": length})

    def train(**more: Any) -> None:
        diptych.train(
            data=towns, run=tmp_path / "run", preset="repaint",
            watch=lambda status: seen.add(torch.get_num_threads()), **more,
        )  # fmt: skip

    with threads_given_back():
        torch.set_num_threads(2)
        train(settings=settings)
        assert seen == numbers
        assert torch.get_num_threads() == 2
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.set_num_threads(1)
            name, length_before = next(iter(length.items()))
            train(settings={"training": {name: 1.2 * length_before}}, resume=True)
    said = [str(warning.message) for warning in caught]
    assert any("threads 2 and goes on with 1" in line for line in said) is (name == "steps")
