"""Held-out pictures that networks have learned from all the same: scores flatter by them."""

from __future__ import annotations

from pathlib import Path

from diptych.config import Config
from diptych.data.domain import Domain
from diptych.errors import DiptychError
from diptych.model_file import Side
from diptych.training.run_folder import RunFolder


def learned_from(config: Config, domain: Domain, side: Side) -> list[Path]:
    """Those that this training learns from, or that the run which it goes on from has."""
    before = run_before(config)
    earlier = [] if before is None else learned_by(before, domain, side)
    return sorted({*domain.learned_here, *earlier})


def learned_by(run: RunFolder, domain: Domain, side: Side) -> list[Path]:
    """Those of a new training that lie among the pictures of ``run``, which did not hold them out.

    (Held out is what has the smallest hashes: with a larger share, or new files, that is others.)
    """
    try:
        record, folders = run.data()[side], run.folders()
    except DiptychError:  # (gone or damaged since: its model is all that is needed)
        return []
    folder = folders.a if side == "a" else folders.b
    known = set(record["learned_from"])
    unseen = set(record["heldout"]) - known

    def learned(path: Path) -> bool:
        name = str(path.absolute())
        return name in known or (path.absolute().is_relative_to(folder) and name not in unseen)

    return [path for path in domain.heldout if learned(path)]


def run_before(config: Config) -> RunFolder | None:
    """The run that a training goes on from, if it does, and from no single file."""
    place = config.training.start_from
    return RunFolder(Path(place)) if place is not None and Path(place).is_dir() else None
