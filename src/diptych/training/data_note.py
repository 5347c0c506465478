"""What a run notes about its pictures, and whether they are still the same.

``data.json`` says where they are; ``pictures.json`` names all that are trained on, perhaps many.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.config import DomainConfig
from diptych.data.domain import Domain, Folders
from diptych.errors import DiptychError
from diptych.host.files import write_whole
from diptych.sides import SIDES, Side
from diptych.training.run_folder import RunFolder
from diptych.words import typed


def write_data(
    run: RunFolder,
    folders: Folders,
    a: Domain,
    b: Domain,
    learned_from: Mapping[str, Sequence[Path]],
) -> None:
    """Note where the pictures are, how they are stored, and which are held out.

    ``learned_from``: those of the held-out ones that the networks know all the same.
    """
    data: dict[str, Any] = {
        "folders": {k: str(v.absolute()) if v else None for k, v in vars(folders).items()}
    }
    for name, domain in (("a", a), ("b", b)):
        data[name] = {
            "training_pictures": len(domain.train),
            "fingerprint": domain.fingerprint(),
            "heldout_fingerprint": domain.heldout_fingerprint(),
            "pixel_format": vars(domain.pixel_format),
            "heldout": [str(path.absolute()) for path in domain.heldout],
            "learned_from": [str(path.absolute()) for path in learned_from[name]],
            "skipped": [vars(one) for one in domain.skipped],
        }
    write_pictures(run, a, b)
    write_whole(run.data_record, json.dumps(data, indent=1))


def write_pictures(run: RunFolder, a: Domain, b: Domain) -> None:
    """Note which files are trained on, and which are held out beside them."""
    pictures = {
        side: {"trained": domain.trained(), "heldout": domain.held_back()}
        for side, domain in (("a", a), ("b", b))
    }
    write_whole(run.pictures, json.dumps(pictures, indent=0))


def check_data(run: RunFolder, a: Domain, b: Domain) -> None:
    """Refuse to go on with other training pictures than the run began with."""
    if were_exchanged(run, a, b):
        raise DiptychError(
            f"A and B are the other way round: {run.path} learns from {b.folder} to {a.folder}"
        )
    data, now = run.data(), (a, b)
    for side, domain in zip(SIDES, now, strict=True):
        if data[side]["fingerprint"] != domain.fingerprint():
            then = data[side]["training_pictures"]
            changes = _changes(run, side, domain)
            raise DiptychError(
                f"the pictures in {domain.folder} have changed since {run.path} began ({then} "
                f"to learn from then, {len(domain.train)} now{changes}; their names and order "
                "count): make them as they were, or go on from it in a new run, with --from "
                f"{typed(run.path)}"
            )


def were_exchanged(run: RunFolder, a: Domain, b: Domain) -> bool:
    """Whether the pictures of A are those that ``run`` learned from as B, and the reverse."""
    data = run.data()
    noted = [data[side]["fingerprint"] for side in SIDES]
    return noted == [b.fingerprint(), a.fingerprint()] and noted[0] != noted[1]


def _changes(run: RunFolder, side: Side, domain: Domain) -> str:
    """What has become of a run's pictures, if it knows which it had."""
    noted = run.pictures_of(side)
    if noted is None:
        return ""
    then = {**noted["trained"], **noted["heldout"]}
    now = {one.name: one.content for one in domain.cache.entries}
    changed = {
        "new": [name for name in now if name not in then],
        "gone": [name for name in then if name not in now],
        "altered": [name for name in now if then.get(name, now[name]) != now[name]],
    }
    return "".join(
        f"; {what}: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for what, names in changed.items()
        if names
    )


def as_before(run: RunFolder, domain: Domain, side: Side, reading: DomainConfig) -> Domain:
    """The domain with values mapped as ``write_data`` has noted: the networks know no others.

    Raises DiptychError where ``reading`` has been edited, so that values would be others.
    """
    before, now = run.data()[side]["pixel_format"], domain.pixel_format
    same_kind = (before.channels, before.dtype) == (now.channels, now.dtype)
    if not same_kind or (reading.ranges and before != now):
        raise DiptychError(
            f"{run.path} learned from pictures of {side.upper()} as {before.describe()}, and its "
            f"config.yaml reads them as {now.describe()}: take {side}.depth, {side}.channels and "
            f"{side}.range back, or start a new run"
        )
    return replace(domain, pixel_format=before)


def with_heldout(run: RunFolder, domain: Domain, side: Side) -> Domain:
    """The domain with those pictures held out that ``write_data`` has noted."""
    noted = [Path(path) for path in run.data()[side]["heldout"]]
    contents = dict(zip(domain.heldout, domain.heldout_contents, strict=True))
    return replace(
        domain,
        heldout=tuple(noted),
        heldout_contents=tuple(contents.get(path, "missing") for path in noted),
    )


def scores_differently(run: RunFolder, a: Domain, b: Domain) -> bool:
    """Whether the held-out pictures are others than ``write_data`` has noted."""
    data = run.data()
    noted = [data["a"]["heldout_fingerprint"], data["b"]["heldout_fingerprint"]]
    return noted != [a.heldout_fingerprint(), b.heldout_fingerprint()]
