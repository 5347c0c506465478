"""What a program that watches a training is told, and what becomes of an error of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Status:
    """How far a run is, for whoever watches."""

    step: int
    steps: int | None  # in all; None when the length is given in minutes
    progress: float  # 0 to 1
    seconds: float  # of training, over all sessions
    steps_per_second: float  # in this session
    losses: dict[str, float]  # means since the last log step


Watch = Callable[[Status], None]


class ProgramError(Exception):
    """Around what a program's ``watch`` raises, so that its OSError is not taken for the run's."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
