"""The method: unpaired translation with cycle-consistent adversarial networks.

Zhu, Park, Isola, Efros (2017), arXiv:1703.10593. Batches ``a`` and ``b`` hold pictures of domain A
and domain B, ``(N, C, H, W)`` in [-1, 1]; nobody says which ``a`` belongs to which ``b``.

Two generators translate, ``G_ab`` from A to B and ``G_ba`` back (the paper's G and F). Two
discriminators judge, ``D_a`` pictures that claim to be in A and ``D_b`` those that claim to be in
B. One step is: lower ``generator_loss`` by one Adam step on both generators, then lower
``discriminator_loss`` by one Adam step on both discriminators.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.config import Config, LossConfig
from diptych.losses import OBJECTIVES, gradient_penalty, l1, noisy, slope_penalty
from diptych.networks import Discriminator, initialise, make_discriminator, make_generator

Terms = dict[str, Tensor]  # parts of a loss by name, before their weights
Fakes = dict[str, Tensor]  # translations by the domain that they claim to be in: "a" or "b"


class CycleGAN(nn.Module):
    """The four networks. Pictures of A have ``channels_a`` channels, those of B ``channels_b``."""

    def __init__(self, config: Config, channels_a: int, channels_b: int) -> None:
        super().__init__()
        self.G_ab = make_generator(config.generator, channels_a, channels_b)
        self.G_ba = make_generator(config.generator, channels_b, channels_a)
        self.D_a = make_discriminator(config.discriminator, channels_a)
        self.D_b = make_discriminator(config.discriminator, channels_b)
        for network in self.children():
            initialise(network)
        # Batch norm mixes the pictures of a batch, so two batches must not be joined into one.
        self.joins_generator_batches = config.generator.norm != "batch"
        self.joins_discriminator_batches = config.discriminator.norm != "batch"

    @property
    def generators(self) -> nn.ModuleList:
        return nn.ModuleList([self.G_ab, self.G_ba])

    @property
    def discriminators(self) -> nn.ModuleList:
        return nn.ModuleList([self.D_a, self.D_b])

    def generator_loss(
        self, a: Tensor, b: Tensor, weights: LossConfig
    ) -> tuple[Tensor, Terms, Fakes]:
        """The full objective of the generators (Zhu et al., 2017, eq. 3, and section 5.2).

        Per side: ``adversarial + cycle * L1 + identity * L1``; the loss is the sum of both sides.
        Returns the loss, its terms, and the fakes for D to judge. Terms of weight 0 are left out,
        those of identity also where A and B differ in their number of channels.
        """
        G_ab, G_ba, D_a, D_b = self.G_ab, self.G_ba, self.D_a, self.D_b
        adversarial = OBJECTIVES[weights.adversarial].generator
        identity = weights.identity > 0 and a.shape[1] == b.shape[1]
        join = self.joins_generator_batches

        if identity:
            fake_b, idt_b = both(G_ab, a, b, join)
            fake_a, idt_a = both(G_ba, b, a, join)
        else:
            fake_b, fake_a = G_ab(a), G_ba(b)

        terms = {
            # eq. 1: fakes should pass as real
            "G_ab/adversarial": adversarial(D_b(noisy(fake_b, weights.noise))),
            "G_ba/adversarial": adversarial(D_a(noisy(fake_a, weights.noise))),
        }
        loss = terms["G_ab/adversarial"] + terms["G_ba/adversarial"]
        if weights.cycle > 0:  # eq. 2
            terms["cycle_a"] = cycle_loss(D_a, G_ba(fake_b), a, weights.cycle_features)
            terms["cycle_b"] = cycle_loss(D_b, G_ab(fake_a), b, weights.cycle_features)
            loss = loss + weights.cycle * (terms["cycle_a"] + terms["cycle_b"])
        if identity:  # section 5.2: what is in the target domain already should stay as it is
            terms["identity_a"] = l1(idt_a, a)
            terms["identity_b"] = l1(idt_b, b)
            loss = loss + weights.identity * (terms["identity_a"] + terms["identity_b"])
        return loss, terms, {"a": fake_a, "b": fake_b}

    def discriminator_loss(
        self, a: Tensor, b: Tensor, fakes: Fakes, weights: LossConfig
    ) -> tuple[Tensor, Terms]:
        """What the discriminators minimise: real pictures pass, fakes do not (eq. 1).

        The fakes come from the history of past ones and carry no gradient. Returns the loss (the
        sum of both sides times ``weights.discriminator``) and its terms.
        """
        join = self.joins_discriminator_batches
        terms = {
            "D_a": judging_loss(self.D_a, a, fakes["a"], weights, join),
            "D_b": judging_loss(self.D_b, b, fakes["b"], weights, join),
        }
        return weights.discriminator * (terms["D_a"] + terms["D_b"]), terms


def cycle_loss(D: Discriminator, rec: Tensor, x: Tensor, in_features: float) -> Tensor:
    """There and back again (eq. 2): mean|rec - x|.

    A share ``in_features`` of it compares what D sees in the two instead of their pixels, so that
    texture need not return pixel by pixel (Wang & Lin, 2018, "CycleGAN with better cycles").
    """
    if in_features == 0:
        return l1(rec, x)
    with torch.no_grad():
        seen = D.features(x)
    return torch.lerp(l1(rec, x), l1(D.features(rec), seen), in_features)


def judging_loss(
    D: Discriminator, real: Tensor, fake: Tensor, weights: LossConfig, join: bool
) -> Tensor:
    """The loss of one discriminator, with the penalties on its slope that ``weights`` ask for."""
    verdicts = both(D, noisy(real, weights.noise), noisy(fake, weights.noise), join)
    loss = OBJECTIVES[weights.adversarial].discriminator(*verdicts)
    if weights.adversarial == "wgangp":
        loss = loss + gradient_penalty(D, real, fake)
    if weights.r1 > 0:
        loss = loss + weights.r1 * slope_penalty(D, real)
    return loss


def both(net: nn.Module, x: Tensor, y: Tensor, join: bool) -> tuple[Tensor, Tensor]:
    """``net(x), net(y)``, in one pass where ``join`` allows it and the shapes agree."""
    if join and x.shape[1:] == y.shape[1:]:
        first, second = net(torch.cat([x, y])).split([len(x), len(y)])
        return first, second
    return net(x), net(y)
