"""CUT: translation one way, held together by comparing patches instead of going there and back.

Park, Efros, Zhang, Zhu (2020), "Contrastive Learning for Unpaired Image-to-Image Translation",
arXiv:2007.15651. One generator ``G_ab``, one discriminator ``D_b``. Without a second generator
nothing can be translated back; instead each patch of ``fake_b = G_ab(a)`` must be recognisable as
the patch of ``a`` at the same place, among other patches of ``a`` (PatchNCE). What is compared are
features of the generator's own encoder, through small networks ``H`` that are thrown away later.

One step is as in ``cyclegan.py``: lower ``generator_loss`` (over G_ab and H), then
``discriminator_loss``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.config import Config, LossConfig
from diptych.cyclegan import Fakes, Terms
from diptych.losses import OBJECTIVES, gradient_penalties, noisy, plain_l1
from diptych.networks import Discriminator, ResnetGenerator, initialise
from diptych.networks.fast.joining import joinable, twice
from diptych.networks.modes import averages_kept
from diptych.networks.precision import full_precision

Places = list[Tensor]  # for each layer, the numbers of the patches that are compared


class CUT(nn.Module):
    """``G_ab``, ``D_b`` and, for each compared layer, a projection ``H`` of its features."""

    def __init__(self, config: Config, channels_a: int, channels_b: int) -> None:
        super().__init__()
        self.G_ab = ResnetGenerator(config.generator, channels_a, channels_b)
        self.D_b = Discriminator(config.discriminator, channels_b, config.shrink)
        self.contrast = config.contrast
        widths = self.G_ab.feature_channels()
        self.H = nn.ModuleList(projection(n, config.contrast.width) for n in widths)
        for network in self.children():
            initialise(network)

    @property
    def generators(self) -> nn.ModuleList:
        return nn.ModuleList([self.G_ab])

    @property
    def discriminators(self) -> nn.ModuleList:
        return nn.ModuleList([self.D_b])

    @cached_property
    def joins_discriminator_batches(self) -> bool:
        """Whether two batches may go through the discriminator as one."""
        return joinable(self.D_b)

    def generator_loss(
        self, a: Tensor, b: Tensor, weights: LossConfig
    ) -> tuple[Tensor, Terms, Fakes]:
        """The full objective of the generator (Park et al., 2020, eq. 5).

        ``adversarial + source * PatchNCE(fake_b, a) + target * PatchNCE(idt_b, b)``. The last term
        is the identity loss in other words: pictures of B should keep their patches. Where
        ``weights`` ask for it, ``plain * plain_l1`` comes on top. Returns the loss, its terms, and
        the fakes for D to judge.
        """
        flip = self.contrast.flip and bool(torch.rand(()) < 0.5)
        alike = a.shape[1] == b.shape[1]
        identity = self.contrast.target > 0 and alike
        adversarial = OBJECTIVES[weights.adversarial].generator

        source = a.flip(3) if flip else a
        fake_b = self.G_ab(source)
        terms = {
            "G_ab/adversarial": adversarial(self.D_b(noisy(fake_b, weights.noise))),
            "contrast_a": self.patch_nce(fake_b, a, flip),
        }
        loss = terms["G_ab/adversarial"] + self.contrast.source * terms["contrast_a"]
        if identity:
            with averages_kept(self.G_ab):  # (of batch norm: they are for pictures of A)
                idt_b = self.G_ab(b)
            terms["contrast_b"] = self.patch_nce(idt_b, b, flip=False)
            loss = loss + self.contrast.target * terms["contrast_b"]
        if weights.plain > 0 and alike:
            terms["plain_a"] = plain_l1(fake_b, source)
            loss = loss + weights.plain * terms["plain_a"]
        return loss, terms, {"b": fake_b}

    def discriminator_loss(
        self, a: Tensor, b: Tensor, fakes: Fakes, weights: LossConfig
    ) -> tuple[Tensor, Terms]:
        """What ``D_b`` minimises: real pictures pass, fakes do not. ``a`` is not looked at."""
        join, fake_b = self.joins_discriminator_batches, fakes["b"]
        seen_b, seen_fake = noisy(b, weights.noise), noisy(fake_b, weights.noise)
        (on_real,), (on_fake,) = twice(lambda x: (self.D_b(x),), (seen_b,), (seen_fake,), join)
        terms = {"D_b": OBJECTIVES[weights.adversarial].discriminator(on_real, on_fake)}
        if weights.has_gradient_penalty:
            terms["D_b"] = terms["D_b"] + gradient_penalties(self.D_b, b, fake_b, weights)
        return weights.discriminator * terms["D_b"], terms

    def patch_nce(self, fake: Tensor, source: Tensor, flip: bool) -> Tensor:
        """Whether patches of ``fake`` are recognisable in ``source`` (eq. 3).

        The mean over layers and patches, where the paper writes a sum.

        ``flip``: ``fake`` was made of the mirrored source, and is compared mirrored back. The
        source's side is the answer to be found and takes no gradient.
        """
        with averages_kept(self.G_ab):
            of_fake = self.G_ab.features(fake)
            with torch.no_grad():
                of_source = self.G_ab.features(source)
        if flip:
            of_fake = [layer.flip(3) for layer in of_fake]
        places = [choose_places(layer, self.contrast.patches) for layer in of_source]
        queries = self._project(of_fake, places)
        with torch.no_grad():
            keys = self._project(of_source, places)
        losses = [
            nce(query, key, self.contrast.temperature)
            for query, key in zip(queries, keys, strict=True)
        ]
        return torch.stack(losses).mean()

    def _project(self, layers: Sequence[Tensor], places: Places) -> list[Tensor]:
        """The chosen patches of each layer as unit vectors, ``(N, patches, width)``."""
        projected = []
        for layer, chosen, H in zip(layers, places, self.H, strict=True):
            patches = full_precision(layer.flatten(2)[:, :, chosen].transpose(1, 2))
            projected.append(F.normalize(full_precision(H(patches)), dim=2))
        return projected


def projection(channels: int, width: int) -> nn.Sequential:
    """Two layers from features to the space that patches are compared in."""
    return nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width))


def choose_places(layer: Tensor, count: int) -> Tensor:
    """Up to ``count`` different places of an ``(N, C, H, W)`` layer, as numbers below H * W."""
    places = layer.shape[2] * layer.shape[3]
    return torch.randperm(places, device=layer.device)[:count]


def nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each query's own key among those of its picture (eq. 2).

    ``queries`` and ``keys`` are ``(N, patches, width)`` unit vectors; a query's likeness to a key
    is their dot product over ``temperature``.
    """
    with torch.autocast(queries.device.type, enabled=False):  # bf16 is coarse beside 0.07
        likeness = queries @ keys.transpose(1, 2) / temperature
    own = torch.arange(keys.shape[1], device=keys.device).expand(len(keys), -1)
    return F.cross_entropy(likeness.flatten(0, 1), own.flatten())
