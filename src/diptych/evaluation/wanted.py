"""What else to score, if a person asks: true translations, label colours, classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.partners import belong_together, partners
from diptych.data.pixels import Pixels
from diptych.errors import UsageError
from diptych.evaluation.heldout import Heldout
from diptych.evaluation.pairs import parse_palette


@dataclass(frozen=True)
class Target:
    """What a person asks to be scored of the translations to one domain.

    ``palette``: its pictures are label maps in these colours, as ``"#ffffff,#00ff00"``.
    ``classes``: numbers of the ImageNet classes that its pictures show. Raises UsageError for what
    is none of that.
    """

    palette: str | None = None
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.palette is not None:
            parse_palette(str(self.palette))
        several = isinstance(self.classes, Collection)
        if not several or not all(isinstance(n, Integral) and 0 <= n < 1000 for n in self.classes):
            raise UsageError(
                f"classes {self.classes!r}: give ImageNet's numbers, 0 to 999, as in (340,)"
            )
        object.__setattr__(self, "classes", tuple(map(int, self.classes)))


@dataclass(frozen=True)
class Wanted:
    """The same worked out: what the translations of one direction are compared with."""

    # The true translation of each source picture; None for one that could not be read.
    truths: Sequence[Pixels | None] | None = None
    palette: NDArray[np.uint8] | None = None  # (K, 3) colours of the target's label maps
    labels: Sequence[Pixels | None] = ()  # as ``truths``, in colours of the palette alone
    classes: tuple[int, ...] = ()  # ImageNet classes that the translations should be in
    partners: Sequence[int] | None = None  # of each source picture the target's place; -1: none


def find_wanted(
    target: Target,
    source: Heldout,
    real: Heldout,
    labels: Sequence[Pixels],
    paired: bool | None,
    ordered: bool,
) -> Wanted:
    """What can be scored of the translations of ``source``; raises UsageError for what cannot.

    ``labels``: those of ``real`` once more, if they are label maps. ``paired`` and ``ordered``: as
    in ``evaluate``, and whether the order of both means something.
    """
    # (Who belongs to whom is asked of all names: one that is missing leaves its partner alone.)
    both = [*source.paths, *source.unread], [*real.paths, *real.unread]
    partner_of = (_partners(*both, paired, ordered) or [])[: len(source.paths)]
    places = [i if i < len(real.paths) else None for i in partner_of]  # None: it is not read

    def partners_in(pictures: Sequence[Pixels]) -> list[Pixels | None]:
        return [None if i is None else pictures[i] for i in places]

    found = partners_in(real.pictures)
    truths = found if any(truth is not None for truth in found) else None
    palette = None if target.palette is None else parse_palette(target.palette)
    if palette is not None and truths is None:
        raise UsageError(
            "a palette needs the true label maps: test pictures of A and B of the same names, or "
            "in the same order with --paired"
        )
    stored = real.pixel_format
    if palette is not None and not stored.is_image:
        raise UsageError(
            f"a palette is of 8-bit pictures of 1 or 3 channels, and these are {stored.describe()}"
        )
    for path, picture, truth in zip(source.paths, source.pictures, truths or [], strict=False):
        if truth is not None and picture.shape[:2] != truth.shape[:2]:
            if paired is None and palette is None:  # names that only number the pictures
                return Wanted(classes=target.classes)
            raise UsageError(
                f"{path} and its partner differ in size: they cannot be compared; use --unpaired"
            )
    known = [-1 if i is None else i for i in places] if truths else None
    true_labels = partners_in(labels) if labels else ()
    return Wanted(truths, palette, true_labels, target.classes, known)


def _partners(
    sources: Sequence[Path], targets: Sequence[Path], paired: bool | None, ordered: bool
) -> list[int] | None:
    """For each source picture the place of its true translation; None for unpaired pictures.

    ``ordered``: whether their order means something, should no name agree.
    """
    if paired is False:
        return None
    if paired is None:
        return partners(sources, targets) if belong_together(sources, targets) else None
    by_name = partners(sources, targets)
    if by_name is not None:
        return by_name
    names = {path.stem for path in targets}
    alone = next((path for path in sources if path.stem not in names), sources[0])
    if all(path.stem in names for path in sources):
        raise UsageError(
            f"--paired, but names like {sources[0].stem} come several times, and not in folders of "
            "the same names: go without --paired"
        )
    if any(path.stem in names for path in sources):
        raise UsageError(
            f"--paired, but {alone} has no partner of its own name among those held out, as others "
            "have: go without --paired"
        )
    if not ordered or len(sources) != len(targets):
        raise UsageError(
            f"--paired, but {alone} has no partner of its name, and only the pictures of two test "
            "folders, as many in each and none damaged, can be paired by their order"
        )
    first, second = (
        sorted(range(len(of)), key=lambda i: _counted(of[i])) for of in (sources, targets)
    )
    partner = dict(zip(first, second, strict=True))
    return [partner[i] for i in range(len(sources))]


def _counted(path: Path) -> list[tuple[str, int]]:
    """By which names are in the order that people count in: 2 before 10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", str(path))]
