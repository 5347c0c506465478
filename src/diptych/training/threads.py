"""How many threads of the CPU make steps quickest, found out while they are made.

PyTorch takes a thread for each core, and in each of a step's hundreds of operations all wait for
the last one. Where another program keeps one of two cores busy a step takes four times as long, and
with one thread 1.4 times (benchmarks/NOTES.md; less where ways go in ``two_threads.py``). Rounding
depends on the number of threads, so a training that is to be repeated bit by bit keeps the one that
it began with.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch

from diptych.config import Config
from diptych.host.processor import cores_allowed
from diptych.training import distributed

ROUND, LEAST = 0.5, 8  # seconds, and steps, that one measurement takes at least
WORTH = 0.93  # share of the time of a step: another number of threads has to be that good
HOPELESS = 1.15  # times as long: then still other numbers in that direction are not tried
SLOWED = 1.25  # times as long as usual: something has changed on this machine
REMEMBERED = 20  # rounds that say what is usual
FIRST_WAIT, LONGEST_WAIT = 15.0, 120.0  # seconds until more threads get another try
TRYING = 0.05  # share of the time that such tries may take

Search = Generator[int, float, float]  # yields numbers of threads, is sent seconds of steps


def tunes_threads(config: Config, device: torch.device, compiled: bool) -> bool:
    """Whether a training looks for its number of threads.

    By itself one on the CPU does whose length is given in minutes, and whose steps cost the same:
    not where pictures keep their own sizes. Networks would be compiled for each number anew.
    """
    if device.type != "cpu" or compiled or distributed.world_size() > 1:
        return False
    wanted = config.training.tune_threads
    usual = config.training.minutes is not None and config.data.one_size
    return usual if wanted is None else wanted


class ThreadTuner:
    """Sets PyTorch's number of threads for each step, never above what it was."""

    def __init__(self, alike: int) -> None:
        """``alike``: of so many steps in a row each number costs the same."""
        most = min(torch.get_num_threads(), math.ceil(cores_allowed()))
        self.search = quickest_threads(most, alike)
        self.threads = next(self.search)

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Around each step. (What a program does beside it keeps the number that it has set.)"""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        begun = time.perf_counter()
        try:
            yield
        finally:
            torch.set_num_threads(before)
        self.threads = self.search.send(time.perf_counter() - begun)


def numbers_to_try(most: int) -> list[int]:
    """Halves and halves of halves, and of few cores one left to others: 1, 2, 4, 7, 8."""
    numbers = {most >> i for i in range(most.bit_length())}
    return sorted(numbers | ({max(1, most - 1)} if most <= 8 else set()))


def quickest_threads(most: int, alike: int) -> Search:
    """Yields the number of threads for the next step; is to be sent the seconds that it took.

    Begins with ``most``, looks whether fewer do better, and looks again when steps slow down, and,
    with fewer, now and then.
    """
    numbers = numbers_to_try(most)
    at, wait = len(numbers) - 1, FIRST_WAIT
    first = yield most
    pace = yield from _pace(most, alike, first)
    upwards = False
    while len(numbers) > 1:
        before, spent = at, 0.0
        for way in (1,) if upwards else (-1, 1):
            at, pace, seconds = yield from _walk(numbers, at, way, pace, alike)
            spent += seconds
            if at != before:
                break
        wait = FIRST_WAIT if at != before else min(2 * wait, LONGEST_WAIT)
        until = max(wait, spent / TRYING) if at < len(numbers) - 1 else math.inf
        pace, upwards = yield from _watch(numbers[at], pace, alike, until)
    while True:
        yield most


def _pace(threads: int, alike: int, pace: float, limit: float = math.inf) -> Search:
    """Seconds a step takes, over a round if it takes ``pace``; inf as soon as over ``limit``."""
    steps = _in_round(alike, pace)
    seconds = 0.0
    for _ in range(steps):
        seconds += yield threads
        if seconds > limit * steps:
            return math.inf
    return seconds / steps


def _in_round(alike: int, pace: float) -> int:
    """Steps of a round, each kind of step as often."""
    return alike * math.ceil(max(ROUND / max(pace, 1e-6), LEAST) / alike)


def _walk(
    numbers: list[int], at: int, way: int, pace: float, alike: int
) -> Generator[int, float, tuple[int, float, float]]:
    """The quickest place among ``numbers`` from ``at`` on, up or down.

    Returns it, its pace, and the seconds that looking took.
    """
    place, spent = at + way, 0.0
    while 0 <= place < len(numbers):
        spent += yield numbers[place]  # (the first step with another number takes longer)
        found = yield from _pace(numbers[place], alike, pace, HOPELESS * pace)
        spent += min(found, HOPELESS * pace) * _in_round(alike, pace)
        if found == math.inf:
            break
        if found < WORTH * pace:
            at, pace = place, found
        place += way
    return at, pace, spent


def _watch(
    threads: int, pace: float, alike: int, wait: float
) -> Generator[int, float, tuple[float, bool]]:
    """Steps until they slow down, or for ``wait`` seconds: their pace, and whether it was that.

    A single slow round, as when a page is loaded beside the training, is none.
    """
    last, waited = pace, 0.0
    rounds = deque([pace], maxlen=REMEMBERED)
    while waited < wait:
        now = yield from _pace(threads, alike, pace)
        waited += now * _in_round(alike, pace)
        pace, last = min(now, last), now
        rounds.append(now)
        usual = sorted(rounds)[len(rounds) // 4]  # (single quick rounds are not)
        if pace > SLOWED * usual:
            return pace, False
    return pace, True
