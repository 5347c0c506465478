"""The score that is looked at during a training: KID on the same pictures, again and again."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diptych.data.suits import FEWEST_SCORED
from diptych.errors import DiptychError
from diptych.evaluation.distances import Interval, kid
from diptych.evaluation.features import Described, FeatureNet
from diptych.evaluation.heldout import Heldout, describe
from diptych.evaluation.wanted import Target, find_wanted
from diptych.model_file import GeneratorPair
from diptych.networks.modes import evaluation_mode
from diptych.sides import Side, other_side
from diptych.words import counted


@dataclass(frozen=True)
class Yardstick:
    """Real held-out pictures, described once, to measure a training against again and again."""

    net: FeatureNet
    heldout: dict[Side, Heldout]
    real: dict[Side, Described]

    def kid(self, pair: GeneratorPair, device: torch.device) -> dict[Side, Interval]:
        """KID of the translations, by the domain that they are translated to."""
        found: dict[Side, Interval] = {}
        with evaluation_mode(*pair.generators), torch.inference_mode():
            for to in pair.ways:
                source, target = self.heldout[other_side(to)], self.heldout[to]
                G, stored = pair.towards(to), target.pixel_format
                fakes = [stored.to_pixels(G(x))[0] for x in source.tensors(device)]
                made = describe(Heldout(source.paths, fakes, stored), self.net)
                wanted = find_wanted(Target(), source, target, (), paired=None, ordered=False)
                found[to] = kid(made.features, self.real[to].features, wanted.partners)
        return found


def make_yardstick(a: Heldout, b: Heldout, net: FeatureNet) -> Yardstick:
    """Describe the real pictures. Raises DiptychError for fewer than FEWEST_SCORED."""
    both: dict[Side, Heldout] = {"a": a, "b": b}
    for side, heldout in both.items():
        if len(heldout.pictures) < FEWEST_SCORED:
            advice = (
                "give test folders, or a larger --set data.holdout, or leave scores on the way out "
                "with --evaluate-every 0"
            )
            if lost := heldout.unread:  # (a resumed run takes no other settings)
                pictures = counted(len(lost), "picture")
                advice = f"bring back {pictures} missing or damaged, the first of them {lost[0]}"
            raise DiptychError(
                f"scoring needs at least {FEWEST_SCORED} held-out pictures of {side.upper()}, and "
                f"there are {len(heldout.pictures)}: {advice}"
            )
    return Yardstick(net, both, {side: describe(own, net) for side, own in both.items()})
