"""Training from Python in one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diptych.config import Tree
from diptych.training.run_folder import RunFolder
from diptych.training.start import Listener, make_config, pick_folders, resume_run, start_run
from diptych.training.trainer import Watch
from diptych.translation.translator import Translator, load


@dataclass(frozen=True)
class Run:
    """A finished training."""

    path: Path

    def load(self, device: str = "auto") -> Translator:
        """The trained translator."""
        return load(self.path, device)

    def metrics(self) -> list[dict[str, float]]:
        """The loss terms over time: one dictionary per log step."""
        return RunFolder(self.path).read_metrics()


def train(
    a: str | Path | None = None,
    b: str | Path | None = None,
    *,
    run: str | Path,
    data: str | Path | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    settings: Tree | None = None,
    watch: Watch | None = None,
) -> Run:
    """Train a translator between two folders of pictures; returns when it is done.

    Give folders ``a`` and ``b``, or ``data`` with trainA and trainB in it. ``run`` is the folder
    to make. ``settings`` go on top of the preset: ``{"training": {"steps": 1000}}``; see
    ``diptych.config`` for all of them. ``resume`` goes on with a stopped run, whose folder knows
    the rest. ``watch`` is called after each step with a Status.

    Raises DiptychError, with one line saying what to do, for anything wrong with the folders or
    settings; and after a signal, once everything is saved.
    """
    folder = RunFolder(Path(run))
    listener = Listener(watch=watch)
    if resume:
        resume_run(folder, (settings or {}).get("training"), listener)
    else:
        made = make_config(preset, Path(config) if config is not None else None, settings)
        start_run(pick_folders(a, b, data), folder, made, listener)
    return Run(Path(run))
