"""A run: the folder that holds everything about one training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from diptych.config import Config
from diptych.data.domain import Folders
from diptych.errors import DiptychError, UsageError
from diptych.host import lock
from diptych.host.files import explain_os_errors, lies_in, write_whole
from diptych.host.lock import only_one
from diptych.model_file import IMPORT_ADVICE, MODEL, holds_foreign_weights, read_info
from diptych.settings import build_config, read_tree, to_yaml
from diptych.sides import Side
from diptych.training.checkpoint import step_of
from diptych.training.distributed import started_together
from diptych.training.provenance import made_with
from diptych.training.records import (
    DataRecord,
    Number,
    PicturesRecord,
    StoredEvaluation,
    StoredTable,
    read_lines,
    read_record,
    readable,
)
from diptych.words import typed


def run_at(place: Path) -> RunFolder:
    """The run in a folder, or that of a checkpoint, which may be gone by now."""
    real = Path(os.path.realpath(place))
    inside = step_of(real.name) is not None and real.parent.name == "checkpoints"
    return RunFolder(real.parents[1] if inside else place)


def model_step(model: Path) -> int | None:
    """Of which step a model file is; None if it is not there, or damaged."""
    try:
        return read_info(model).step
    except DiptychError:
        return None


def _named(name: str) -> cached_property[Path]:
    return cached_property(lambda run: run.path / name)


@dataclass(frozen=True)
class RunFolder:
    """Names inside a run folder, and reading and writing of its small files."""

    path: Path

    settings = _named("config.yaml")
    data_record = _named("data.json")
    pictures = _named("pictures.json")
    checkpoints = _named("checkpoints")
    samples = _named("samples")
    tensorboard = _named("tensorboard")
    model = _named(MODEL)
    best_model = _named("model-best.safetensors")
    metrics = _named("metrics.jsonl")
    evaluations = _named("evaluations.jsonl")
    warnings = _named("warnings.jsonl")
    evaluation = _named("evaluation.json")
    demo_scores = _named("scores.json")
    report = _named("report.html")

    def saved_model(self) -> Path:
        """``model``, which is there. Raises DiptychError if there is no run, or none saved."""
        self._check_exists()
        if not self.model.exists():
            raise DiptychError(
                f"nothing is saved in {self.path} yet: go on with: {self.resume_command}"
            )
        return self.model

    @property
    def resume_command(self) -> str:
        """What a person types to go on with it."""
        processes = started_together()
        # (-- since torchrun would take --run for an option of its own)
        together = f"torchrun --nproc-per-node {processes} -m -- " if processes > 1 else ""
        return f"{together}diptych train --run {typed(self.path)} --resume"

    @property
    def moved_command(self) -> str:
        """The same where its pictures have moved."""
        return f"{self.resume_command} {'--data DIR' if self.folders().tested else 'A/ B/'}"

    def exists(self) -> bool:
        return self.settings.is_file()

    def _check_exists(self) -> None:
        if self.path.is_file():
            raise DiptychError(
                f"{self.path} is a file: give the run folder that it came from, whose "
                f"{self.model.name} counts"
            )
        if not self.exists():
            but = IMPORT_ADVICE if holds_foreign_weights(self.path) else "check the name"
            self._check_settings_are_there()
            if (whole := run_at(self.path)).exists():
                run = typed(whole.path)
                but = f"give {run} (to score this: diptych evaluate {run} --model {self.path})"
            raise DiptychError(f"there is no run in {self.path}: {but}")

    def has_learned(self) -> bool:
        """Whether it holds a run with anything saved."""
        learned = (self.model, self.best_model, *self.checkpoints.glob("step-*"))
        return self.exists() and any(path.exists() for path in learned)

    def is_finished(self) -> bool:
        """Whether the model is of the training's end. Raises DiptychError if there is no run."""
        lengths = self.config().training.length
        metrics = self.read_metrics()
        if not metrics or not lengths:
            return False
        last = metrics[-1]  # (a training ends with a line, where times and epochs are rounded)
        made = {
            "steps": last["step"],
            "epochs": last.get("epoch", 0),
            "minutes": last.get("seconds", 0) / 60,
        }
        whole = all(made[length] >= wanted - 1e-4 for length, wanted in lengths.items())
        return whole and self.has_model_of(int(last["step"]))

    def has_model_of(self, step: int) -> bool:
        """Whether the model file is of this step."""
        return model_step(self.model) == step

    def check_free(self) -> None:
        """Refuse a folder that holds a run with anything saved, or other files."""
        if self.has_learned():
            raise UsageError(
                f"{self.path} already holds a run: continue it with --resume, "
                "or choose another --run"
            )
        if self.exists():
            return  # it stopped before anything was learned
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: choose another --run")
        self._check_settings_are_there()
        if self.path.is_dir() and self._holds_files():
            raise UsageError(f"{self.path} is not empty: choose another --run")

    def _check_settings_are_there(self) -> None:
        """Refuse what looks like a run but for its config.yaml."""
        if self.checkpoints.is_dir() and self.model.exists() and not self.exists():
            raise DiptychError(self._lost(self.settings))

    def _lost(self, file: Path) -> str:
        """That a file of the run is missing or damaged, and what to do."""
        return (
            f"{file} is missing or damaged: bring it back from a copy, or start a new run from "
            f"this one's model, with --from {typed(self.model)}"
        )

    def _holds_files(self) -> bool:
        started = (lock.NAME, ".partial")  # what a start that was killed leaves behind
        return any(not path.name.endswith(started) for path in self.path.iterdir())

    @contextmanager
    def begun(self, config: Config) -> Iterator[bool]:
        """Make the folder, lock it for the block, and write down the settings.

        Yields whether there is a lock, as ``only_one`` does.

        Raises DiptychError if it cannot be written, or another process is in it.
        """
        settings = to_yaml(config, made_with(config))
        with explain_os_errors(f"write the run folder {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
        with only_one(self.path) as locked:
            self.check_free()
            with explain_os_errors(f"write the run folder {self.path}"):
                self.sweep()
                for stale in (self.evaluation, self.demo_scores, self.report):
                    stale.unlink(missing_ok=True)  # of a run that stopped before it learned much
                write_whole(self.settings, settings)
                self.make_folders()
            yield locked

    def config(self) -> Config:
        """The settings of the run. Raises DiptychError if there is no run here."""
        self._check_exists()
        file = self.settings
        tree = read_tree(file)
        if not tree.pop("made_with", None):
            raise DiptychError(
                f"{file} is cut short or damaged, its last section is missing: bring it back from "
                "a copy"
            )
        try:
            return build_config(tree)
        except UsageError as error:
            by = self.made_with().get("diptych", "?")
            raise DiptychError(
                f"{file}: {error} (it was written by diptych {by}; is this another version?)"
            ) from error

    def data(self) -> DataRecord:
        """What ``write_data`` wrote. Raises DiptychError if it is damaged."""
        if not self.data_record.exists() and not self.model.exists():
            raise DiptychError(
                f"{self.path} stopped before it began: give the whole command again, without "
                "--resume"
            )
        try:
            return read_record(self.data_record, DataRecord)
        except DiptychError as error:
            raise DiptychError(self._lost(self.data_record)) from error

    def pictures_of(self, side: Side) -> PicturesRecord | None:
        """What ``write_pictures`` wrote; None if that cannot be read."""
        return (readable(self.pictures, dict[str, PicturesRecord]) or {}).get(side)

    def missing(self) -> list[str]:
        """Held-out files that are not where they were."""
        data = self.data()
        held = [*data["a"]["heldout"], *data["b"]["heldout"]]
        return [path for path in held if not Path(path).exists()]

    def folders(self) -> Folders:
        """The picture folders that the run was started with."""
        return self.data()["folders"]

    def made_with(self) -> dict[str, str]:
        """The versions that the run was made with, as its config.yaml says."""
        try:
            tree = read_tree(self.settings)
            return TypeAdapter(dict[str, str]).validate_python(tree["made_with"])
        except (DiptychError, ValueError, KeyError):
            return {}

    def check_places(self) -> None:
        """Refuse to write and remove elsewhere, where links of somebody's lead to."""
        folders = (self.checkpoints, self.samples, self.tensorboard)
        for place in (*folders, self.metrics, self.evaluations, self.warnings):
            if not lies_in(place, self.path):
                kind = "folder" if place in folders else "file"
                raise DiptychError(f"{place} is a link out of the run: put the {kind} itself there")

    def make_folders(self) -> None:
        """What a training writes into, where it is missing."""
        self.samples.mkdir(exist_ok=True)
        self.checkpoints.mkdir(exist_ok=True)

    def sweep(self) -> None:
        """Remove what a process that was killed while writing has left behind."""
        for folder in (self.path, self.samples):
            for path in folder.glob(".*.partial"):
                path.unlink(missing_ok=True)

    def read_metrics(self) -> list[dict[str, float]]:
        """One dictionary per log step."""
        return read_lines(self.metrics, Number)

    def read_warnings(self) -> list[dict[str, Any]]:
        """Steps and texts of what looked wrong during the training."""
        return read_lines(self.warnings, str)

    def read_evaluations(self) -> list[dict[str, float]]:
        """One dictionary per scoring of held-out pictures (``training.evaluate_every``)."""
        return read_lines(self.evaluations, Number)

    def read_evaluation(self, step: int) -> StoredEvaluation | None:
        """What ``diptych evaluate`` wrote, if it is of the model of this step and can be read."""
        found = readable(self.evaluation, StoredEvaluation)
        return found if found is not None and found.evaluation.step == step else None

    def read_demo_scores(self, step: int) -> StoredTable | None:
        """The demo's table, if it is of the model of this step and can be read."""
        found = readable(self.demo_scores, StoredTable)
        return found if found is not None and found.step == step else None
