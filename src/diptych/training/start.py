"""From two folders and settings to a trained run: what the command and the Python API share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from diptych.config import LENGTHS, Config
from diptych.data.domain import Folders, data_folders
from diptych.errors import DiptychError, UsageError
from diptych.host.files import AnyPath, as_path, lies_in
from diptych.settings import Tree, changed, differences
from diptych.training.choice import make_config, settings_given
from diptych.training.run_folder import RunFolder
from diptych.training.session import SILENT, Listener, Session
from diptych.words import typed

Resume = bool | Literal["if-there"]


def run_training(
    run: RunFolder,
    a: Path | None,
    b: Path | None,
    data: Path | None,
    *,
    preset: str | None,
    config: Path | None,
    start_from: Path | None,
    resume: Resume,
    settings: Tree,
    listener: Listener,
    max_minutes: float | None,
) -> bool:
    """Start or resume a run, as ``diptych.train`` describes it; returns as ``start_run``."""
    if resume not in (True, False, "if-there"):
        raise UsageError(f"resume {resume!r}: give True, False, or 'if-there'")
    if resume == "if-there":
        resume = run.has_learned()
    if resume:
        asked = settings_given(preset, config, settings, start_from)
        given = pick_folders(a, b, data) if a or b or data else None
        moved = None if given is None or given.absolute() == run.folders() else given
        return resume_run(run, asked, listener, max_minutes, moved)
    run.check_free()
    folders = pick_folders(a, b, data)
    made = make_config(preset, config, settings, start_from)
    return start_run(folders, run, made, listener, max_minutes)


def pick_folders(a: AnyPath | None, b: AnyPath | None, data: AnyPath | None) -> Folders:
    """Two folders, or one that holds trainA and trainB. Raises UsageError for anything else."""
    if data is not None and a is None and b is None:
        return data_folders(as_path(data))
    if data is None and a is not None and b is not None:
        return Folders(as_path(a), as_path(b))
    advice = "give two folders of pictures, A and B, or --data DIR with trainA and trainB"
    if a is not None and b is None and (as_path(a) / "trainA").is_dir():
        advice = f"{a} holds trainA: did you mean --data {typed(as_path(a))}?"
    raise UsageError(advice)


def start_run(
    folders: Folders,
    run: RunFolder,
    config: Config,
    listener: Listener = SILENT,
    max_minutes: float | None = None,
) -> bool:
    """Make the run folder and train to the end, or for ``max_minutes``; returns whether to the end.

    Raises DiptychError with one line.
    """
    for pictures in folders.all:
        if lies_in(run.path, pictures):
            raise UsageError(
                f"the run {run.path} would lie among the pictures of {pictures}, and its samples "
                "with them: choose another --run"
            )
    if (place := config.training.start_from) is not None:  # (resuming may be in another folder)
        config = changed(config, {"training": {"start_from": str(as_path(place).absolute())}})
    return Session(run, folders, config, listener, max_minutes, resumes=False).train()


ONLY_LENGTH = (
    "a run goes on with its own settings: only --run, a new --steps, --epochs or "
    "--minutes, --max-minutes, and folders that have moved may be given. For others start "
    "a new run from it, with --from"
)


def resume_run(
    run: RunFolder,
    settings: Tree | None = None,
    listener: Listener = SILENT,
    max_minutes: float | None = None,
    moved: Folders | None = None,
) -> bool:
    """Go on with a run where it stopped; returns as ``start_run``.

    ``settings`` may hold a new length, ``{"training": {"steps": N}}``, and others if they are the
    run's own; UsageError if they are not. ``moved``: where its pictures are now, if not where they
    were.
    """
    own, given = run.config(), settings or {}
    training = given.get("training") or {}
    if not isinstance(training, dict):
        raise UsageError(ONLY_LENGTH)
    training = {name: value for name, value in training.items() if value is not None}
    if _is_one_place(training.get("start_from"), own.training.start_from):
        del training["start_from"]
    length = {name: value for name, value in training.items() if name in LENGTHS}
    others = {name: value for name, value in training.items() if name not in LENGTHS}
    wanted = changed(own, {**given, "training": others})
    if wanted != own:
        said = differences(own.model_dump(), wanted.model_dump(), "in the run")
        raise UsageError(f"{ONLY_LENGTH} ({said[0]})")
    config = changed(own, {"training": length})
    folders = moved or run.folders()
    if moved is not None and run.folders().tested and not moved.tested:
        raise UsageError(f"{run.path} has test folders too: give --data DIR, which holds all")
    if moved is None:
        for folder in folders.all:
            if not folder.is_dir():
                raise DiptychError(
                    f"the pictures of {run.path} were in {folder}, which is not there: put them "
                    f"back, or say where they are now: {run.moved_command}"
                )
    elsewhere = moved is not None
    session = Session(run, folders, config, listener, max_minutes, resumes=True, moved=elsewhere)
    return session.train()


def _is_one_place(one: object, other: str | None) -> bool:
    """Whether two names are of one file or folder, from here."""
    if not isinstance(one, str) or other is None:
        return False
    return os.path.realpath(os.path.expanduser(one)) == os.path.realpath(other)
