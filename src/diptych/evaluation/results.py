"""What scoring a pair of generators finds out."""

from __future__ import annotations

from dataclasses import dataclass, field

from diptych.evaluation.distances import Interval
from diptych.evaluation.pairs import Likeness, PaletteScores
from diptych.sides import Side

FEW = 2000  # below, Fréchet distances are too biased to stand beside published ones


@dataclass(frozen=True)
class SetScores:
    """One set of pictures against the real held-out pictures of the target domain."""

    kid: Interval
    frechet: float
    precision: float
    recall: float
    recognised: float | None  # share of pictures in the asked-for classes


@dataclass(frozen=True)
class Distances:
    """The translations, and what their scores may be compared with."""

    translations: SetScores
    split: SetScores  # one half of the real target pictures against the other: the floor
    untouched: SetScores  # the source pictures as they are: the ceiling
    best_first: list[str]  # source files, by how close their translations come to real pictures


@dataclass(frozen=True)
class DirectionScores:
    """Scores of translating one way."""

    to: Side
    pictures: int  # that were translated
    targets: int  # real ones of the target domain
    distances: Distances | None  # None for fewer than FEWEST_SCORED
    cycle: Likeness | None  # of the reconstructions to the source pictures, where there are any
    identity_l1: float | None  # mean|G(y) - y| over the target's pictures; None if it cannot be
    paired: Likeness | None  # of the translations to the true ones
    palette: PaletteScores | None
    channels: int = 3  # of the target domain
    lpips: float | None = None  # of the translations to the true ones, if the package is there
    true_of: dict[str, str] = field(default_factory=dict)  # each source file's true translation
    classes: tuple[int, ...] = ()  # ImageNet classes that were to be recognised


@dataclass(frozen=True)
class Evaluation:
    """What ``diptych evaluate`` finds out."""

    step: int
    size: int | None  # pixels a side that the pictures were scored at; None: their own
    features: str
    frechet_name: str  # FID, where it may be called that
    pictures_digest: str  # of those of A and B, as they were cut and read for scoring
    to_b: DirectionScores
    to_a: DirectionScores | None  # None for a model that translates one way only
    unread: tuple[str, ...] = ()  # held-out files that are missing or damaged: scored without
    learned_from: int = 0  # held-out pictures that the networks know: scores flatter
    strength: float = 1.0  # factor on the changes that a model which retouches makes

    @property
    def directions(self) -> tuple[DirectionScores, ...]:
        """Those that there are."""
        return (self.to_b,) if self.to_a is None else (self.to_b, self.to_a)
