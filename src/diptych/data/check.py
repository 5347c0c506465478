"""What is wrong with two folders of pictures, before a training finds out.

Every picture is decoded as training would, without a cache; what would be trained on, held out
or refused is decided by the same functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from diptych.config import Config, DataConfig
from diptych.data.alike import alike_pairs, groups
from diptych.data.cache import OnProgress, PictureCache, of_one_kind
from diptych.data.domain import (
    Domain,
    Folders,
    check_different,
    check_request,
    make_domain,
)
from diptych.data.folder import find_pictures
from diptych.data.geometry import kept_size, load_size
from diptych.data.scan import Scan, Seen, scan_folder
from diptych.data.suits import check_shapes, doubts
from diptych.errors import DiptychError

Kind = Literal[
    "damaged", "unlike", "in both domains", "trained and held out", "duplicates", "nearly constant",
    "tiny", "long and thin", "imbalance", "few", "nearly black",
]  # fmt: skip
FLAT = 2 / 255  # standard deviation, as a share of the domain's range
UNEQUAL = 4  # times as many pictures in one domain


@dataclass(frozen=True)
class Case:
    """One or more files that belong together in a finding, and a word about them."""

    files: tuple[str, ...]
    about: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know; ``advice`` says what to do about it."""

    kind: Kind
    advice: str
    cases: tuple[Case, ...]


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


def check(folders: Folders, config: Config, on_progress: OnProgress | None = None) -> Check:
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
            if on_progress is not None:
                on_progress(before + done, total)

        scans.append(scan_folder(name, folder, paths, reading, config, progress))
        before += len(paths)
    domains, refused = _domains(scans, config)
    heldout = {path for domain in domains for path in domain.heldout}
    findings = [
        *_left_out(scans, domains),
        *_repeated(scans, heldout),
        *_poor(scans, config.data),
        *_imbalance(domains),
        *_doubts(domains),
    ]
    return Check(
        tuple(_part(scan) for scan in scans), tuple(findings), config.preset, config.data.size,
        _crops(config.data), tuple(_plan(domain, scans) for domain in domains), refused,
    )  # fmt: skip


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


def _left_out(scans: Sequence[Scan], domains: Sequence[Domain]) -> Iterable[Finding]:
    damaged = [
        Case((str(scan.folder / one.name),), one.reason) for scan in scans for one in scan.skipped
    ]
    if damaged:
        yield Finding("damaged", "they are left out: replace or remove them", tuple(damaged))
    places = [(domain.folder, domain.skipped) for domain in domains]
    places += [(d.test_folder, d.test_skipped) for d in domains if d.test_folder is not None]
    unlike = [
        Case((str(folder / one.name),), one.reason)
        for folder, skipped in places
        for one in skipped
        if one.readable
    ]
    if unlike:
        yield Finding("unlike", "they are left out: convert them", tuple(unlike))


def _repeated(scans: Sequence[Scan], heldout: set[Path]) -> Iterable[Finding]:
    """The same picture several times: worst where A meets B, or training what is held out."""
    seen = [(scan, one) for scan in scans for one in scan.seen]
    first: dict[str, int] = {}
    pairs = []
    for i, (_, one) in enumerate(seen):
        if (j := first.setdefault(one.entry.content, i)) != i:
            pairs.append((j, i))
    # (Nearly constant pictures all look alike; they are named as such.)
    shaped = [i for i, (scan, one) in enumerate(seen) if not _is_flat(one, _range(scan))]
    pairs += [(shaped[i], shaped[j]) for i, j in alike_pairs(seen[i][1].look for i in shaped)]
    found: dict[Kind, list[Case]] = {"in both domains": [], "trained and held out": [],
                                     "duplicates": []}  # fmt: skip
    for group in groups(len(seen), pairs):
        same = len({seen[i][1].entry.content for i in group}) == 1
        case = Case(
            tuple(str(seen[i][1].path) for i in group),
            "the same file" if same else "nearly the same picture",
        )
        domains = {seen[i][0].name[-1] for i in group}
        held = {seen[i][0].name.startswith("test") or seen[i][1].path in heldout for i in group}
        if len(domains) > 1:
            found["in both domains"].append(case)
        elif len(held) > 1:
            found["trained and held out"].append(case)
        else:
            found["duplicates"].append(case)
    advice = {
        "in both domains": "decide for each where it belongs",
        "trained and held out": "scores will flatter: remove one of each",
        "duplicates": "they count several times: keep one of each",
    }
    for kind, cases in found.items():
        if cases:
            yield Finding(kind, advice[kind], tuple(cases))


def _range(scan: Scan) -> float:
    """From the lowest to the highest value in a folder, or in the range that was given."""
    if scan.reading.range is not None:
        low, high = scan.reading.range
        return high - low
    if all(one.dtype == "uint8" for one in scan.seen):
        return 255.0
    return max(e.entry.high for e in scan.seen) - min(e.entry.low for e in scan.seen)


def _is_flat(one: Seen, span: float) -> bool:
    return one.spread <= FLAT * span


def _poor(scans: Sequence[Scan], data: DataConfig) -> Iterable[Finding]:
    """Pictures from which little can be learned."""
    flat, tiny, long = [], [], []
    for scan in scans:
        span = _range(scan) if scan.seen else 0.0
        for one in scan.seen:
            name, size = (str(one.path),), f"{one.width} x {one.height}"
            kept = kept_size(data, one.width, one.height)
            if _is_flat(one, span):
                reach = f"its values are {one.entry.low:g} to {one.entry.high:g}"
                flat.append(Case(name, f"{reach}, of a range of {span:g}"))
            if kept != (one.width, one.height):
                long.append(Case(name, f"{size}, of which the middle {kept[0]} x {kept[1]}"))
            elif 2 * min(one.width, one.height) < data.size and data.preprocess != "none":
                tiny.append(Case(name, size))
    if flat:
        yield Finding("nearly constant", "nothing can be learned from them", tuple(flat))
    if tiny:
        yield Finding(
            "tiny", f"enlarged more than twice for {data.size} px: remove them, or train at a "
            "smaller --size", tuple(tiny),
        )  # fmt: skip
    if long:
        yield Finding("long and thin", "only their middle is used: cut them", tuple(long))


def _imbalance(domains: Sequence[Domain]) -> Iterable[Finding]:
    if len(domains) < 2:
        return
    fewer, more = sorted(domains, key=lambda domain: len(domain.train))
    if len(more.train) >= UNEQUAL * len(fewer.train):
        about = f"{len(fewer.train)} and {len(more.train)} pictures to learn from"
        times = len(more.train) / len(fewer.train)
        yield Finding(
            "imbalance", f"each of the fewer is shown {times:.0f} times as often: add to them",
            (Case((str(fewer.folder), str(more.folder)), about),),
        )  # fmt: skip


def _doubts(domains: Sequence[Domain]) -> Iterable[Finding]:
    found: dict[tuple[Kind, str], list[Case]] = {}
    for domain in domains:
        for doubt in doubts(domain):
            case = Case((str(domain.folder),), doubt.about)
            found.setdefault((doubt.kind, doubt.advice), []).append(case)
    for (kind, advice), cases in found.items():
        yield Finding(kind, advice, tuple(cases))


def _part(scan: Scan) -> Part:
    def counts(words: Iterable[str]) -> dict[str, int]:
        return dict(Counter(words).most_common())

    return Part(
        scan.name, str(scan.folder), len(scan.files), len(scan.seen),
        counts(one.format for one in scan.seen), counts(one.mode for one in scan.seen),
        counts(f"{one.width} x {one.height}" for one in scan.seen),
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
