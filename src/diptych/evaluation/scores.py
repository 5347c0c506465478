"""All scores of a pair of generators on held-out pictures, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from diptych.data.pixels import PixelFormat, Pixels
from diptych.data.suits import FEWEST_SCORED
from diptych.evaluation.distances import frechet_distance, kid, nearest_distance, precision_recall
from diptych.evaluation.features import Described, FeatureNet
from diptych.evaluation.heldout import Heldout, describe
from diptych.evaluation.lpips import mean_lpips
from diptych.evaluation.pairs import (
    Likeness,
    PaletteScores,
    likeness,
    mean_likeness,
    palette_scores,
)
from diptych.evaluation.results import DirectionScores, Distances, Evaluation, SetScores
from diptych.evaluation.wanted import Wanted
from diptych.losses import l1
from diptych.model_file import GeneratorPair
from diptych.networks.modes import evaluation_mode
from diptych.sides import Side, other_side


def evaluate_pair(
    pair: GeneratorPair,
    held: Mapping[Side, Heldout],
    net: FeatureNet,
    device: torch.device,
    wanted_of: Mapping[Side, Wanted],
) -> Evaluation:
    """Translate the pictures of both domains, at least one each, and score them.

    ``wanted_of``: by the domain that they are translated to.
    """
    known = {side: describe(own, net) for side, own in held.items()}

    def direction(to: Side) -> DirectionScores:
        source, target, wanted = held[other_side(to)], held[to], wanted_of[to]
        fakes, cycle = _translate(pair, to, source, target.pixel_format, device)

        def with_truths() -> Iterator[tuple[Tensor, Tensor]]:
            """Translations as tensors, each with the true one, where that is known."""
            tensor = target.pixel_format.to_tensor
            for fake, truth in zip(fakes, wanted.truths or (), strict=False):
                if truth is not None:
                    yield tensor(fake[None]), tensor(truth[None])

        distances = None
        if min(len(source.pictures), len(target.pictures)) >= FEWEST_SCORED:
            translated = describe(Heldout(source.paths, fakes, target.pixel_format), net)
            untouched = known[other_side(to)]
            names = [str(path) for path in source.paths]
            distances = score_sets(
                translated, untouched, known[to], names, wanted.classes, wanted.partners
            )
        return DirectionScores(
            to=to,
            pictures=len(source.pictures),
            targets=len(target.pictures),
            distances=distances,
            cycle=cycle,
            identity_l1=_identity(pair.towards(to), target, source.pixel_format, device),
            paired=mean_likeness([likeness(fake, true) for fake, true in with_truths()]),
            palette=_palette(fakes, wanted),
            channels=target.pixel_format.channels,
            lpips=mean_lpips(with_truths(), device),
            true_of={
                str(path): str(target.paths[place])
                for path, place in zip(source.paths, wanted.partners or (), strict=False)
                if place >= 0
            },
            classes=wanted.classes,
        )

    a, b = held["a"], held["b"]
    with evaluation_mode(*pair.generators), torch.inference_mode():
        return Evaluation(
            step=pair.info.step,
            size=_side_of([*a.pictures, *b.pictures]),
            features=net.name,
            frechet_name=net.frechet_name,
            pictures_digest=f"{a.digest()} {b.digest()}",
            to_b=direction("b"),
            to_a=direction("a") if "a" in pair.ways else None,
            unread=tuple(str(path) for path in (*a.unread, *b.unread)),
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
    partners: Sequence[int] | None = None,
) -> Distances:
    """Compare descriptions of translations, their sources and real target pictures."""

    def against(x: Described, y: Described, partners: Sequence[int] | None = None) -> SetScores:
        return SetScores(
            kid(x.features, y.features, partners),
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
        against(translated, real, partners),
        replace(against(half, other_half), recognised=recognised(real)),
        against(untouched, real, partners),
        [names[i] for i in np.argsort(nearest, kind="stable")],
    )


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
    return fakes, mean_likeness(cycles)


def _identity(
    generator: nn.Module, target: Heldout, source: PixelFormat, device: torch.device
) -> float | None:
    if target.pixel_format.channels != source.channels:
        return None
    return float(np.mean([float(l1(generator(y), y)) for y in target.tensors(device)]))


def _palette(fakes: Sequence[Pixels], wanted: Wanted) -> PaletteScores | None:
    if wanted.palette is None:
        return None
    pairs = [(x, y) for x, y in zip(fakes, wanted.labels, strict=True) if y is not None]
    return palette_scores([x for x, _ in pairs], [y for _, y in pairs], wanted.palette)
