"""The method: unpaired translation with cycle-consistent adversarial networks.

Zhu, Park, Isola, Efros (2017), arXiv:1703.10593. Tensors ``a`` and ``b`` hold pictures of domain A
and domain B, ``(N, C, H, W)`` in [-1, 1]; nobody says which ``a`` belongs to which ``b``.

Two generators translate, ``G_ab`` from A to B and ``G_ba`` back (the paper's G and F). Two
discriminators judge, ``D_a`` pictures that claim to be in A and ``D_b`` those that claim to be in
B. One step is: lower ``generator_loss`` by one Adam step on both generators, then lower
``discriminator_loss`` by one Adam step on both discriminators.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from diptych.config import Config, LossConfig
from diptych.losses import OBJECTIVES, gradient_penalties, l1, noisy, plain_l1
from diptych.networks import Discriminator, initialise, make_generator
from diptych.networks.fast.joining import joinable, twice
from diptych.networks.modes import averages_kept

Terms = dict[str, Tensor]  # parts of a loss by name, before their weights
Both = tuple[Tensor, Tensor]  # the same of both ways, or of both domains
Fakes = dict[str, Tensor]  # translations by the domain that they claim to be in: "a" or "b"


class CycleGAN(nn.Module):
    """The four networks. Pictures of A have ``channels_a`` channels, those of B ``channels_b``."""

    def __init__(self, config: Config, channels_a: int, channels_b: int) -> None:
        super().__init__()
        self.G_ab = make_generator(config.generator, channels_a, channels_b)
        self.G_ba = make_generator(config.generator, channels_b, channels_a)
        self.D_a = Discriminator(config.discriminator, channels_a, config.shrink)
        self.D_b = Discriminator(config.discriminator, channels_b, config.shrink)
        for network in self.children():
            initialise(network)

    @property
    def generators(self) -> nn.ModuleList:
        return nn.ModuleList([self.G_ab, self.G_ba])

    @property
    def discriminators(self) -> nn.ModuleList:
        return nn.ModuleList([self.D_a, self.D_b])

    @cached_property
    def joins_generator_batches(self) -> bool:
        """Whether two batches may go through a generator as one."""
        return joinable(self.generators)

    @cached_property
    def joins_discriminator_batches(self) -> bool:
        """Whether two batches may go through a discriminator as one."""
        return joinable(self.discriminators)

    def translate(self, to_b: Tensor, to_a: Tensor) -> Both:
        """``G_ab(to_b), G_ba(to_a)``: what claims to be in B, then what claims to be in A."""
        return self.G_ab(to_b), self.G_ba(to_a)

    def translate_again(self, to_b: Tensor, to_a: Tensor) -> Both:
        """``translate`` for fakes and identity inputs, of which batch norm learns no averages."""
        with averages_kept(*self.generators):
            return self.translate(to_b, to_a)

    def judge(self, a: Tensor, b: Tensor) -> Both:
        """``D_a(a), D_b(b)``."""
        return self.D_a(a), self.D_b(b)

    def generator_loss(
        self, a: Tensor, b: Tensor, weights: LossConfig
    ) -> tuple[Tensor, Terms, Fakes]:
        """The full objective of the generators (Zhu et al., 2017, eq. 3, and section 5.2).

        Per side: ``adversarial + cycle * L1 + identity * L1``, and where ``weights`` ask for it
        ``plain * plain_l1``, or for ``feature_l1`` in the cycle; the loss is the sum of both sides.
        Returns the loss, its terms, and the fakes for D to judge. Terms of weight 0 are left out,
        those of identity and of plain places also where A and B differ in their number of channels.
        """
        adversarial = OBJECTIVES[weights.adversarial].generator
        alike = a.shape[1] == b.shape[1]
        identity = weights.identity > 0 and alike

        if identity:
            (fake_b, fake_a), (idt_b, idt_a) = twice(
                self.translate, (a, b), (b, a), self.joins_generator_batches, self.translate_again
            )
        else:
            fake_b, fake_a = self.translate(a, b)

        on_fake_a, on_fake_b = self.judge(
            noisy(fake_a, weights.noise), noisy(fake_b, weights.noise)
        )
        terms = {  # eq. 1: fakes should pass as real
            "G_ab/adversarial": adversarial(on_fake_b),
            "G_ba/adversarial": adversarial(on_fake_a),
        }
        loss = terms["G_ab/adversarial"] + terms["G_ba/adversarial"]
        if weights.cycle > 0:  # eq. 2: there and back again
            rec_b, rec_a = self.translate_again(fake_a, fake_b)
            terms["cycle_a"], terms["cycle_b"] = l1(rec_a, a), l1(rec_b, b)
            if (share := weights.cycle_features) > 0:
                of_a, of_b = feature_l1(self.D_a, rec_a, a), feature_l1(self.D_b, rec_b, b)
                terms["cycle_a"] = torch.lerp(terms["cycle_a"], of_a, share)
                terms["cycle_b"] = torch.lerp(terms["cycle_b"], of_b, share)
            loss = loss + weights.cycle * (terms["cycle_a"] + terms["cycle_b"])
        if identity:  # section 5.2: what is in the target domain already should stay as it is
            terms["identity_a"] = l1(idt_a, a)
            terms["identity_b"] = l1(idt_b, b)
            loss = loss + weights.identity * (terms["identity_a"] + terms["identity_b"])
        if weights.plain > 0 and alike:
            terms["plain_a"], terms["plain_b"] = plain_l1(fake_b, a), plain_l1(fake_a, b)
            loss = loss + weights.plain * (terms["plain_a"] + terms["plain_b"])
        return loss, terms, {"a": fake_a, "b": fake_b}

    def discriminator_loss(
        self, a: Tensor, b: Tensor, fakes: Fakes, weights: LossConfig
    ) -> tuple[Tensor, Terms]:
        """What the discriminators minimise: real pictures pass, fakes do not (eq. 1).

        The fakes come from the history of past ones and carry no gradient. Returns the loss (the
        sum of both sides times ``weights.discriminator``) and its terms.
        """
        noise = weights.noise
        (on_real_a, on_real_b), (on_fake_a, on_fake_b) = twice(
            self.judge,
            (noisy(a, noise), noisy(b, noise)),
            (noisy(fakes["a"], noise), noisy(fakes["b"], noise)),
            self.joins_discriminator_batches,
        )
        objective = OBJECTIVES[weights.adversarial].discriminator
        terms = {"D_a": objective(on_real_a, on_fake_a), "D_b": objective(on_real_b, on_fake_b)}
        if weights.has_gradient_penalty:
            terms["D_a"] = terms["D_a"] + gradient_penalties(self.D_a, a, fakes["a"], weights)
            terms["D_b"] = terms["D_b"] + gradient_penalties(self.D_b, b, fakes["b"], weights)
        return weights.discriminator * (terms["D_a"] + terms["D_b"]), terms


def feature_l1(D: Discriminator, rec: Tensor, x: Tensor) -> Tensor:
    """The cycle loss on what D sees in the two, not on their pixels.

    Texture need not return pixel by pixel (Wang & Lin, 2018, "CycleGAN with better cycles").
    """
    with torch.no_grad():
        seen = D.features(x)
    return l1(D.features(rec), seen)
