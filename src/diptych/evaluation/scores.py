"""All scores of a pair of generators on held-out pictures, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diptych.config import Config, DomainConfig
from diptych.data.domain import read_for_looking
from diptych.data.geometry import Resize
from diptych.data.partners import partners
from diptych.data.pixels import PixelFormat, Pixels, preview, resize
from diptych.errors import DiptychError, counted
from diptych.evaluation.distances import (
    Interval,
    frechet_distance,
    kid,
    nearest_distance,
    precision_recall,
)
from diptych.evaluation.features import Described, FeatureNet
from diptych.evaluation.lpips import mean_lpips
from diptych.evaluation.pairs import (
    Likeness,
    PaletteScores,
    likeness,
    mean_likeness,
    palette_scores,
)
from diptych.losses import l1
from diptych.model_file import GeneratorPair, Side, other_side
from diptych.networks.blocks import evaluation_mode

FEWEST = 8  # pictures of each set, for distances between sets: its halves need 3 neighbours each
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
class Direction:
    """Scores of translating one way."""

    to: Side
    pictures: int  # that were translated
    targets: int  # real ones of the target domain
    distances: Distances | None  # None for fewer than FEWEST pictures
    cycle: Likeness | None  # of the reconstructions to the source pictures, where there are any
    identity_l1: float | None  # mean|G(y) - y| over the target's pictures; None if it cannot be
    paired: Likeness | None  # of the translations to the true ones
    palette: PaletteScores | None
    lpips: float | None = None  # of the translations to the true ones, if the package is there


@dataclass(frozen=True)
class Evaluation:
    """What ``diptych evaluate`` finds out."""

    step: int
    size: int | None  # pixels a side that the pictures were scored at; None: their own
    features: str
    frechet_name: str  # FID, where it may be called that
    to_b: Direction
    to_a: Direction | None  # None for a model that translates one way only
    unread: tuple[str, ...] = ()  # held-out files that are missing or damaged: scored without

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those that there are."""
        return (self.to_b,) if self.to_a is None else (self.to_b, self.to_a)


@dataclass(frozen=True)
class Heldout:
    """Held-out pictures of a domain at the training size."""

    paths: Sequence[Path]
    pictures: Sequence[Pixels]
    pixel_format: PixelFormat
    unread: Sequence[Path] = ()  # that should be among them, and are missing or damaged

    def tensors(self, device: torch.device) -> Iterator[Tensor]:
        """One ``(1, C, H, W)`` tensor in [-1, 1] after the other: sizes may differ."""
        for picture in self.pictures:
            yield self.pixel_format.to_tensor(picture[None].copy()).to(device)


def read_heldout(
    paths: Iterable[Path],
    reading: DomainConfig,
    pixel_format: PixelFormat,
    config: Config,
    resize: Resize = resize,
) -> Heldout:
    """Those of the held-out pictures that can be read; perhaps none."""
    wanted = list(paths)
    found = dict(read_for_looking(wanted, reading, pixel_format, config, resize=resize))
    unread = [path for path in wanted if path not in found]
    return Heldout(list(found), list(found.values()), pixel_format, unread)


@dataclass(frozen=True)
class Wanted:
    """What else to score in one direction."""

    # The true translation of each source picture; None for one that could not be read.
    truths: Sequence[Pixels | None] | None = None
    palette: NDArray[np.uint8] | None = None  # (K, 3) colours of the target's label maps
    labels: Sequence[Pixels | None] = ()  # as ``truths``, in colours of the palette alone
    classes: tuple[int, ...] = ()  # ImageNet classes that the translations should be in
    partners: Sequence[int] | None = None  # of each source picture the target's place; -1: none


def evaluate_pair(
    pair: GeneratorPair,
    a: Heldout,
    b: Heldout,
    net: FeatureNet,
    device: torch.device,
    to_b: Wanted,
    to_a: Wanted,
) -> Evaluation:
    """Translate the pictures of ``a`` and ``b``, at least one each, and score them."""
    known = {"a": _describe(a, net), "b": _describe(b, net)}

    def direction(to: Side, wanted: Wanted) -> Direction:
        source, target = (a, b) if to == "b" else (b, a)
        fakes, cycle = _translate(pair, to, source, target.pixel_format, device)
        distances = None
        if min(len(source.pictures), len(target.pictures)) >= FEWEST:
            translated = _describe(Heldout(source.paths, fakes, target.pixel_format), net)
            untouched = known[other_side(to)]
            names = [str(path) for path in source.paths]
            distances = score_sets(
                translated, untouched, known[to], names, wanted.classes, wanted.partners
            )
        return Direction(
            to=to,
            pictures=len(source.pictures),
            targets=len(target.pictures),
            distances=distances,
            cycle=cycle,
            identity_l1=_identity(pair.towards(to), target, source.pixel_format, device),
            paired=_paired(fakes, wanted.truths, target.pixel_format),
            palette=_palette(fakes, wanted),
            lpips=_lpips(fakes, wanted.truths, target.pixel_format, device),
        )

    with evaluation_mode(*pair.networks), torch.inference_mode():
        return Evaluation(
            pair.info.step,
            _side_of([*a.pictures, *b.pictures]),
            net.name,
            net.frechet_name,
            direction("b", to_b),
            direction("a", to_a) if "a" in pair.ways else None,
            tuple(str(path) for path in (*a.unread, *b.unread)),
        )


def _side_of(pictures: Sequence[Pixels]) -> int | None:
    """Pixels a side of squares of one size; None for others."""
    sides = {side for picture in pictures for side in picture.shape[:2]}
    return sides.pop() if len(sides) == 1 else None


def score_sets(
    translated: Described,
    untouched: Described,
    real: Described,
    names: Sequence[str],
    classes: Sequence[int],
    pairs: Sequence[int] | None = None,
) -> Distances:
    """Compare descriptions of translations, their sources and real target pictures."""

    def against(x: Described, y: Described, pairs: Sequence[int] | None = None) -> SetScores:
        return SetScores(
            kid(x.features, y.features, pairs=pairs),
            frechet_distance(x.features, y.features),
            *precision_recall(y.features, x.features),
            recognised(x),
        )

    def recognised(x: Described) -> float | None:
        """The share of pictures that are taken for one of ``classes``."""
        if not classes or x.classes is None:
            return None
        return float(np.isin(x.classes, classes).mean())

    order = np.lexsort(real.features.T)  # (by the pictures, whatever their names)
    shuffled = order[np.random.default_rng(0).permutation(len(order))]
    half, other_half = (real.only(part) for part in np.array_split(shuffled, 2))
    nearest = nearest_distance(translated.features, real.features)
    return Distances(
        against(translated, real, pairs),
        replace(against(half, other_half), recognised=recognised(real)),
        against(untouched, real, pairs),
        [names[i] for i in np.argsort(nearest, kind="stable")],
    )


@dataclass(frozen=True)
class Yardstick:
    """Real held-out pictures, described once, to measure a training against again and again."""

    a: Heldout
    b: Heldout
    net: FeatureNet
    real_a: Described
    real_b: Described

    def kid(self, pair: GeneratorPair, device: torch.device) -> dict[Side, Interval]:
        """KID of the translations, by the domain that they are translated to."""
        found: dict[Side, Interval] = {}
        with evaluation_mode(*pair.networks), torch.inference_mode():
            for to in pair.ways:
                source, target = (self.a, self.b) if to == "b" else (self.b, self.a)
                G, stored = pair.towards(to), target.pixel_format
                fakes = [stored.to_pixels(G(x))[0] for x in source.tensors(device)]
                made = _describe(Heldout(source.paths, fakes, stored), self.net)
                real = self.real_b if to == "b" else self.real_a
                pairs = partners(source.paths, target.paths)
                found[to] = kid(made.features, real.features, pairs=pairs)
        return found


def make_yardstick(a: Heldout, b: Heldout, net: FeatureNet) -> Yardstick:
    """Describe the real pictures. Raises DiptychError for fewer than FEWEST of them."""
    for name, heldout in (("A", a), ("B", b)):
        if len(heldout.pictures) < FEWEST:
            advice = "give test folders, or a larger --set data.holdout"
            if lost := heldout.unread:  # (a resumed run takes no other settings)
                pictures = counted(len(lost), "picture")
                advice = f"bring back {pictures} missing or damaged, the first of them {lost[0]}"
            raise DiptychError(
                f"scoring needs at least {FEWEST} held-out pictures of {name}, and there are "
                f"{len(heldout.pictures)}: {advice}"
            )
    return Yardstick(a, b, net, _describe(a, net), _describe(b, net))


def _describe(heldout: Heldout, net: FeatureNet) -> Described:
    return net([preview(picture, heldout.pixel_format) for picture in heldout.pictures])


def _translate(
    pair: GeneratorPair, to: Side, source: Heldout, target: PixelFormat, device: torch.device
) -> tuple[list[Pixels], Likeness | None]:
    """The translations as stored pixels, and how like the sources their reconstructions are."""
    there, back = pair.towards(to), pair.back_from(to)
    fakes, cycles = [], []
    for x in source.tensors(device):
        fake = there(x)
        fakes.append(target.to_pixels(fake)[0])
        if back is not None:
            cycles.append(likeness(back(fake), x))
    return fakes, mean_likeness(cycles) if cycles else None


def _identity(
    generator: nn.Module, target: Heldout, source: PixelFormat, device: torch.device
) -> float | None:
    if target.pixel_format.channels != source.channels:
        return None
    return float(np.mean([float(l1(generator(y), y)) for y in target.tensors(device)]))


def _paired(
    fakes: Sequence[Pixels], truths: Sequence[Pixels | None] | None, target: PixelFormat
) -> Likeness | None:
    if truths is None:
        return None
    return mean_likeness([likeness(x, y) for x, y in _pairs(fakes, truths, target)])


def _lpips(
    fakes: Sequence[Pixels],
    truths: Sequence[Pixels | None] | None,
    target: PixelFormat,
    device: torch.device,
) -> float | None:
    return None if truths is None else mean_lpips(_pairs(fakes, truths, target), device)


def _pairs(
    fakes: Sequence[Pixels], truths: Sequence[Pixels | None], target: PixelFormat
) -> Iterator[tuple[Tensor, Tensor]]:
    for fake, truth in zip(fakes, truths, strict=True):
        if truth is not None:
            yield target.to_tensor(fake[None]), target.to_tensor(truth[None].copy())


def _palette(fakes: Sequence[Pixels], wanted: Wanted) -> PaletteScores | None:
    if wanted.palette is None:
        return None
    pairs = [(x, y) for x, y in zip(fakes, wanted.labels, strict=True) if y is not None]
    return palette_scores([x for x, _ in pairs], [y for _, y in pairs], wanted.palette)
