"""What is wrong with two folders of pictures, before a training finds out.

Every picture is decoded as training would, without a cache; what would be trained on, held out
or refused is decided by the same functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.config import Config, DataConfig
from diptych.data.cache import PictureCache
from diptych.data.cache_build import OnProgress, of_one_kind
from diptych.data.domain import Domain, Folders, check_different, check_request, make_domain
from diptych.data.findings import Finding, find_problems
from diptych.data.folder import find_pictures, passed_over
from diptych.data.geometry import load_size
from diptych.data.scan import Scan, scan_folder
from diptych.data.suits import check_shapes
from diptych.errors import DiptychError, unheard


@dataclass(frozen=True)
class Part:
    """What one folder holds. Counts are of readable pictures, commonest first."""

    name: str  # A, B, test A, test B
    folder: str
    files: int
    readable: int
    formats: dict[str, int]
    modes: dict[str, int]
    sizes: dict[str, int]  # "256 x 256", width first
    passed_over: dict[str, int]  # files that are taken for no pictures, by their ending


@dataclass(frozen=True)
class Plan:
    """What training would do with one domain."""

    name: str
    train: int
    held_out: int
    left_out: int
    values: str  # how pixels are stored


@dataclass(frozen=True)
class Check:
    """All that was found; ``refused`` is the line that training would end with, if it would."""

    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]
    preset: str
    size: int
    crops: str
    plans: tuple[Plan, ...]  # of the domains that could be planned
    refused: str | None

    @property
    def usable(self) -> bool:
        return self.refused is None


def check(folders: Folders, config: Config, on_progress: OnProgress = unheard) -> Check:
    """Read all pictures and report. ``on_progress(done, total)`` counts over all folders.

    Raises DiptychError or UsageError where training would before it reads any picture: a folder
    is missing, holds none, or is given twice.
    """
    check_request(folders, config)
    places = [("A", folders.a, config.a), ("B", folders.b, config.b)]
    if folders.test_a is not None:
        places.append(("test A", folders.test_a, config.a))
    if folders.test_b is not None:
        places.append(("test B", folders.test_b, config.b))
    files = [find_pictures(folder) for _, folder, _ in places]
    total, before = sum(map(len, files)), 0
    scans = []
    for (name, folder, reading), paths in zip(places, files, strict=True):

        def progress(done: int, before: int = before) -> None:
            on_progress(before + done, total)

        scans.append(scan_folder(name, folder, paths, reading, config, progress))
        before += len(paths)
    domains, refused = _domains(scans, config)
    return Check(
        parts=tuple(_part(scan) for scan in scans),
        findings=find_problems(scans, domains, config.data),
        preset=config.preset,
        size=config.data.size,
        crops=_crops(config.data),
        plans=tuple(_plan(domain, scans) for domain in domains),
        refused=refused,
    )


def _domains(scans: Sequence[Scan], config: Config) -> tuple[list[Domain], str | None]:
    """A and B as training would open them, as far as it would get; and why it would stop."""
    domains: list[Domain] = []
    refused = None
    tests = {scan.name: scan for scan in scans if scan.name.startswith("test")}
    for scan in scans[:2]:
        try:
            domains.append(_domain(scan, tests.get(f"test {scan.name}"), config.data))
        except DiptychError as error:
            refused = refused or str(error)
    if refused is None:
        try:
            check_different(*domains)
            check_shapes(config, *domains)
        except DiptychError as error:
            refused = str(error)
    return domains, refused


def _domain(scan: Scan, test: Scan | None, data: DataConfig) -> Domain:
    tests = (test.folder, _cache(test)) if test is not None else None
    return make_domain(scan.folder, _cache(scan), tests, scan.reading, data)


def _cache(scan: Scan) -> PictureCache:
    """What would be in the cache, but for the pixels."""
    skipped = list(scan.skipped)
    typed = [(one.dtype, one.entry) for one in scan.seen]
    kept, dtype = of_one_kind(scan.folder, typed, skipped)
    no_pixels = np.empty(0, np.uint8)
    return PictureCache(no_pixels, np.dtype(dtype), tuple(kept), tuple(skipped))


def _part(scan: Scan) -> Part:
    def counts(words: Iterable[str]) -> dict[str, int]:
        return dict(Counter(words).most_common())

    return Part(
        scan.name, str(scan.folder), len(scan.files), len(scan.seen),
        counts(one.format for one in scan.seen), counts(one.mode for one in scan.seen),
        counts(f"{one.width} x {one.height}" for one in scan.seen), passed_over(scan.folder),
    )  # fmt: skip


def _plan(domain: Domain, scans: Sequence[Scan]) -> Plan:
    name = next(scan.name for scan in scans if scan.folder == domain.folder)
    return Plan(
        name, len(domain.train), len(domain.heldout),
        len(domain.skipped) + len(domain.test_skipped),
        domain.pixel_format.describe(),
    )  # fmt: skip


def _crops(data: DataConfig) -> str:
    """What ``preprocess`` does, for people."""
    square = f"{data.size} x {data.size}"
    if data.zooms:
        closest = round(data.zoom * load_size(data))
        return (
            f"crops of {square} from pictures with a shorter side of {load_size(data)} to "
            f"{closest}, if they have so many pixels"
        )
    return {
        "resize-crop": f"crops of {square} from pictures with a shorter side of {load_size(data)}",
        "scale-width-crop": f"crops of {square} from pictures {load_size(data)} wide",
        "crop": f"crops of {square} from pictures in their own size",
        "resize": f"whole pictures, stretched to {square}",
        "none": "whole pictures, in their own size",
    }[data.preprocess]
