"""Held-out pictures that networks have learned from all the same: scores flatter by them."""

from __future__ import annotations

from pathlib import Path

from diptych.config import Config
from diptych.data.domain import Domain
from diptych.errors import DiptychError
from diptych.sides import Side
from diptych.training.run_folder import RunFolder, run_at


def learned_from(config: Config, domain: Domain, side: Side) -> list[Path]:
    """Those that this training learns from, or that the run which it goes on from has."""
    earlier = [path for run in runs_before(config) for path in learned_by(run, domain, side)]
    return sorted({*domain.learned_here, *earlier})


def learned_by(run: RunFolder, domain: Domain, side: Side) -> list[Path]:
    """Those of a new training that ``run`` learned from, or a run that it went on from.

    (Held out are those with the smallest hashes: others, with a larger share or with new files.)
    """
    try:
        record, folders = run.data()[side], run.folders()
    except DiptychError:  # (gone or damaged since: its model is all that is needed)
        return []
    known = set(record["learned_from"])
    if (pictures := run.pictures_of(side)) is not None:
        trained = set(domain.heldout_among(pictures["trained"].values()))
    else:  # (it began before that was noted)
        folder = folders.trained(side)
        unseen = {Path(path) for path in record["heldout"]}
        trained = {
            path for path in domain.heldout
            if path.absolute().is_relative_to(folder) and path.absolute() not in unseen
        }  # fmt: skip
    return [path for path in domain.heldout if path in trained or str(path.absolute()) in known]


def runs_before(config: Config) -> list[RunFolder]:
    """The run that a training goes on from, the one before that, and so on.

    (As far as they are there; a single file says nothing of what it has learned from.)
    """
    found: list[RunFolder] = []
    place = config.training.start_from
    while place is not None and (run := run_at(Path(place))).exists() and run not in found:
        found.append(run)
        try:
            place = run.config().training.start_from
        except DiptychError:
            break
    return found
