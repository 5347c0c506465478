"""The usual implementation of CycleGAN, written out: what diptych is compared with.

Eager float32 in PyTorch's own memory layout (NCHW), one pass for each of the six translations,
PyTorch's Adam as it comes, and every loss read back in every step.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.config import Config


class Block(nn.Module):
    """A residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def generator(
    channels_in: int, channels_out: int, width: int, blocks: int, upsample: str = "transpose"
) -> nn.Sequential:
    """The ResNet generator; ``(N, channels_in, H, W)`` to ``(N, channels_out, H, W)``."""
    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(channels_in, width, 7),
        nn.InstanceNorm2d(width),
        nn.ReLU(True),
    ]
    for before in (width, 2 * width):
        layers += [
            nn.Conv2d(before, 2 * before, 3, stride=2, padding=1),
            nn.InstanceNorm2d(2 * before),
            nn.ReLU(True),
        ]
    layers += [Block(4 * width) for _ in range(blocks)]
    for before in (4 * width, 2 * width):
        if upsample == "transpose":
            layers.append(nn.ConvTranspose2d(before, before // 2, 3, 2, 1, output_padding=1))
        else:
            layers += [
                nn.Upsample(scale_factor=2),
                nn.ReflectionPad2d(1),
                nn.Conv2d(before, before // 2, 3),
            ]
        layers += [nn.InstanceNorm2d(before // 2), nn.ReLU(True)]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels_out, 7), nn.Tanh()]
    return nn.Sequential(*layers)


def discriminator(channels: int, width: int, halvings: int) -> nn.Sequential:
    """The PatchGAN; ``(N, channels, H, W)`` to one verdict for each patch."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    before = width
    for i in range(1, halvings + 1):
        after = width * min(2**i, 8)
        stride = 2 if i < halvings else 1
        layers += [
            nn.Conv2d(before, after, 4, stride, 1),
            nn.InstanceNorm2d(after),
            nn.LeakyReLU(0.2, True),
        ]
        before = after
    return nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))


class Pool:
    """The history of past fakes, of which half of the time one is shown instead."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pictures: list[Tensor] = []

    def query(self, fakes: Tensor) -> Tensor:
        if self.size == 0:
            return fakes
        shown = []
        for fake in torch.split(fakes.detach(), 1):
            if len(self.pictures) < self.size:
                self.pictures.append(fake.clone())
                shown.append(fake)
            elif random.random() < 0.5:
                place = random.randrange(self.size)
                shown.append(self.pictures[place])
                self.pictures[place] = fake.clone()
            else:
                shown.append(fake)
        return torch.cat(shown)


class Plain:
    """The four networks, their optimizers, and the training step."""

    def __init__(self, config: Config, channels: int, device: torch.device) -> None:
        G, D, adam = config.generator, config.discriminator, config.optimizer
        self.weights = config.loss
        self.G_ab, self.G_ba = (
            generator(channels, channels, G.width, G.blocks, G.upsample).to(device)
            for _ in range(2)
        )
        self.D_a, self.D_b = (
            discriminator(channels, D.width, D.layers).to(device) for _ in range(2)
        )
        for net in self.networks.values():
            for weight in net.parameters():
                nn.init.normal_(weight, 0, 0.02) if weight.ndim > 1 else nn.init.zeros_(weight)
        betas = (adam.beta1, adam.beta2)
        self.optimizer_G = torch.optim.Adam(
            [*self.G_ab.parameters(), *self.G_ba.parameters()], adam.rate, betas
        )
        self.optimizer_D = torch.optim.Adam(
            [*self.D_a.parameters(), *self.D_b.parameters()], adam.rate, betas
        )
        self.pool_a, self.pool_b = Pool(config.training.history), Pool(config.training.history)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"G_ab": self.G_ab, "G_ba": self.G_ba, "D_a": self.D_a, "D_b": self.D_b}

    def step(self, a: Tensor, b: Tensor) -> dict[str, float]:
        """One update of G and one of D; returns the terms of both losses."""
        weights = self.weights
        fake_b = self.G_ab(a)
        rec_a = self.G_ba(fake_b)
        fake_a = self.G_ba(b)
        rec_b = self.G_ab(fake_a)
        idt_b = self.G_ab(b)
        idt_a = self.G_ba(a)

        self._judges_learn(False)
        self.optimizer_G.zero_grad()
        losses = {
            "G_ab/adversarial": (self.D_b(fake_b) - 1).square().mean(),
            "G_ba/adversarial": (self.D_a(fake_a) - 1).square().mean(),
            "cycle_a": F.l1_loss(rec_a, a),
            "cycle_b": F.l1_loss(rec_b, b),
            "identity_a": F.l1_loss(idt_a, a),
            "identity_b": F.l1_loss(idt_b, b),
        }
        loss = (
            losses["G_ab/adversarial"]
            + losses["G_ba/adversarial"]
            + weights.cycle * (losses["cycle_a"] + losses["cycle_b"])
            + weights.identity * (losses["identity_a"] + losses["identity_b"])
        )
        loss.backward()
        self.optimizer_G.step()

        self._judges_learn(True)
        self.optimizer_D.zero_grad()
        judged = (
            ("D_a", self.D_a, a, self.pool_a.query(fake_a)),
            ("D_b", self.D_b, b, self.pool_b.query(fake_b)),
        )
        for name, D, real, fake in judged:
            losses[name] = (D(real) - 1).square().mean() + D(fake.detach()).square().mean()
            (weights.discriminator * losses[name]).backward()
        self.optimizer_D.step()
        return {name: loss.item() for name, loss in losses.items()}

    def _judges_learn(self, on: bool) -> None:
        for D in (self.D_a, self.D_b):
            for weight in D.parameters():
                weight.requires_grad_(on)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Give ``target`` the weights of ``source``: the same layers in the same order."""
    with torch.no_grad():
        for theirs, ours in zip(source.parameters(), target.parameters(), strict=True):
            ours.copy_(theirs)
