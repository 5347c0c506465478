"""Training from Python, in one call."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

import torch

from diptych.errors import UsageError, warn
from diptych.evaluation.results import Evaluation
from diptych.host.files import AnyPath, as_path
from diptych.host.interrupt import InterruptedRunError, as_the_program_would
from diptych.scoring import evaluate
from diptych.settings import Tree
from diptych.training.run_folder import RunFolder
from diptych.training.session import Listener
from diptych.training.start import Resume, run_training
from diptych.training.watch import Watch
from diptych.translation.translator import Translator, load


@dataclass(frozen=True)
class Run:
    """A training that ``train`` has returned, or by its folder: ``diptych.Run("runs/h2z")``."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", as_path(self.path))

    def __fspath__(self) -> str:
        """So that ``load``, ``evaluate`` and ``train(start_from=...)`` take it as it is."""
        return str(self.path)

    @property
    def finished(self) -> bool:
        """Whether it has come to its end. If not, as after ``max_minutes``, it can be resumed."""
        return RunFolder(self.path).is_finished()

    def load(self, device: str | torch.device = "auto") -> Translator:
        """The trained translator; ``diptych.load(run, ...)`` has more to choose."""
        return load(self.path, device)

    def evaluate(self) -> Evaluation:
        """Its scores on the held-out pictures."""
        return evaluate(self.path)

    def metrics(self) -> list[dict[str, float]]:
        """The loss terms over time: one dictionary per log step."""
        run = RunFolder(self.path)
        run.config()  # (says so if there is no run)
        return run.read_metrics()


def train(
    a: AnyPath | None = None,
    b: AnyPath | None = None,
    *,
    run: AnyPath,
    data: AnyPath | None = None,
    preset: str | None = None,
    config: AnyPath | None = None,
    start_from: AnyPath | None = None,
    resume: Resume = False,
    settings: Tree | None = None,
    watch: Watch | None = None,
    max_minutes: float | None = None,
) -> Run:
    """Train a translator between two folders of pictures; returns when it is done.

    Give folders ``a`` and ``b``, or ``data`` with trainA and trainB in it. ``run`` is the folder
    to make. ``settings`` go on top of the preset: ``{"training": {"steps": 1000}}``; see
    ``diptych.config`` for all of them. ``start_from`` is a model file or a run, with whose networks
    and weights to begin; without a preset its settings are taken too. ``resume`` goes on with a
    stopped run, whose folder knows the rest: only a new length may be among the settings then, and
    folders are given only if they have moved. ``"if-there"`` starts, or goes on if the run has
    begun, with the same call.

    ``watch`` is called after each step with a Status; if it raises, the run is saved, and ends with
    that exception. ``max_minutes`` from now it saves and returns, to be resumed later. What a
    person should know, as which pictures were left out, comes as a DiptychWarning; where warnings
    are errors the run is saved first.

    Raises DiptychError, with one line saying what to do, for anything wrong with the folders or
    settings. Ctrl-C and SIGTERM do what they do in the program, once everything is saved: usually
    KeyboardInterrupt, and the end of the process. One training at a time in a process; threads
    beside it that draw PyTorch's random numbers would change both.
    """
    if settings is not None and not isinstance(settings, dict):
        raise UsageError(f"settings are a dictionary of sections, not a {type(settings).__name__}")
    if watch is not None and (not callable(watch) or inspect.iscoroutinefunction(watch)):
        raise UsageError("watch is an ordinary function, which takes a Status")
    folder = RunFolder(as_path(run).absolute())

    def place(given: AnyPath | None) -> Path | None:
        return None if given is None else as_path(given).absolute()  # (``watch`` may go elsewhere)

    try:
        run_training(
            folder, place(a), place(b), place(data), preset=preset, config=place(config),
            start_from=place(start_from), resume=resume, settings=settings or {},
            listener=Listener(watch=watch, warn=warn), max_minutes=max_minutes,
        )  # fmt: skip
    except InterruptedRunError as stopped:
        as_the_program_would(stopped)
    return Run(folder.path)
