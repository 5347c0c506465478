"""What a person should know of the pictures in two folders: damaged, repeated, poor, unlike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.config import DataConfig
from diptych.data.alike import alike_pairs, groups
from diptych.data.domain import Domain
from diptych.data.geometry import kept_size
from diptych.data.scan import Scan, Seen
from diptych.data.suits import DoubtKind, doubts

Kind = Literal[
    "damaged", "unlike", "in both domains", "trained and held out", "duplicates", "nearly constant",
    "tiny", "long and thin", "imbalance", DoubtKind,
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


def find_problems(
    scans: Sequence[Scan], domains: Sequence[Domain], data: DataConfig
) -> tuple[Finding, ...]:
    """All that can be said of the folders, and of the domains that can be made of them."""
    heldout = {path for domain in domains for path in domain.heldout}
    return (
        *_left_out(scans, domains),
        *_repeated(scans, heldout),
        *_poor(scans, data),
        *_imbalance(domains),
        *_doubts(domains),
    )


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
    spans = {scan.name: _range(scan) for scan in scans}
    shaped = [i for i, (scan, one) in enumerate(seen) if not _is_flat(one, spans[scan.name])]
    pairs += [(shaped[i], shaped[j]) for i, j in alike_pairs(seen[i][1].look for i in shaped)]
    advice: dict[Kind, str] = {
        "in both domains": "decide for each where it belongs",
        "trained and held out": "scores will flatter: remove one of each",
        "duplicates": "they count several times: keep one of each",
    }
    found: dict[Kind, list[Case]] = {kind: [] for kind in advice}
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
    for kind, cases in found.items():
        if cases:
            yield Finding(kind, advice[kind], tuple(cases))


def _range(scan: Scan) -> float:
    """From the lowest to the highest value in a folder, or in the range that was given."""
    if ranges := scan.reading.ranges:
        return max(high - low for low, high in ranges)
    if all(one.dtype == "uint8" for one in scan.usable):  # (or none was)
        return 255.0
    return max(e.entry.high for e in scan.usable) - min(e.entry.low for e in scan.usable)


def _is_flat(one: Seen, span: float) -> bool:
    return one.spread <= FLAT * span


def _poor(scans: Sequence[Scan], data: DataConfig) -> Iterable[Finding]:
    """Pictures from which little can be learned."""
    flat, tiny, long = [], [], []
    for scan in scans:
        span = _range(scan)
        for one in scan.usable:
            name, size = (str(one.path),), f"{one.width} x {one.height}"
            kept = kept_size(data, one.width, one.height)
            if _is_flat(one, span):
                reach = f"its values are {one.entry.low:g} to {one.entry.high:g}"
                flat.append(Case(name, f"{reach}, of a range of {span:g}"))
            if kept != (one.width, one.height):
                long.append(Case(name, f"{size}, of which the middle {kept[0]} x {kept[1]}"))
            elif 2 * min(one.width, one.height) < data.size and data.one_size:
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
