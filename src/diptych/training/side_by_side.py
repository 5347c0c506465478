"""CycleGAN whose two ways go through their layers together: for small networks on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.config import Config
from diptych.cyclegan import Both, CycleGAN
from diptych.networks import Discriminator
from diptych.networks.discriminator import centred, texture
from diptych.networks.fast.pairing import Pair
from diptych.networks.precision import as_computed, full_precision

# Numbers in a batch of the widest features: above, layers keep a processor busy by themselves.
MOST = {torch.float32: 2**18, torch.bfloat16: 2**20}

PAIRED_NORMS = ("instance", "group", "none")  # (in pairs, pixel norm costs what the rest saves)


class SideBySide(CycleGAN):
    """A ``CycleGAN`` with its generators in one network, ``G``, and its discriminators in ``D``.

    The weights are its own, those of ``model`` at first.
    """

    def __init__(self, model: CycleGAN) -> None:
        nn.Module.__init__(self)
        self.G = Pair(model.G_ab, model.G_ba)
        self.D = DiscriminatorPair(model.D_a, model.D_b)

    @property
    def generators(self) -> nn.ModuleList:
        return nn.ModuleList([self.G])

    @property
    def discriminators(self) -> nn.ModuleList:
        return nn.ModuleList([self.D])

    def translate(self, to_b: Tensor, to_a: Tensor) -> Both:
        fakes: Both = self.G(to_b, to_a)
        return fakes

    def judge(self, a: Tensor, b: Tensor) -> Both:
        verdicts: Both = self.D(a, b)
        return verdicts


class DiscriminatorPair(nn.Module):
    """``D_a(x), D_b(y)``."""

    def __init__(self, D_a: Discriminator, D_b: Discriminator) -> None:
        super().__init__()
        self.patch, self.stride = D_a.patch, D_a.stride
        self.body = Pair(D_a.body, D_b.body)
        self.texture_body = None
        if D_a.texture_body is not None and D_b.texture_body is not None:
            self.texture_body = Pair(D_a.texture_body, D_b.texture_body)

    def forward(self, x: Tensor, y: Tensor) -> Both:
        x, y = (centred(z, self.patch, self.stride) for z in (x, y))
        of_x, of_y = self.body(as_computed(x, self), as_computed(y, self))
        if self.texture_body is not None:
            fine_x, fine_y = self.texture_body(
                as_computed(texture(x), self), as_computed(texture(y), self)
            )
            of_x, of_y = torch.cat([of_x, fine_x], dim=1), torch.cat([of_y, fine_y], dim=1)
        return full_precision(of_x), full_precision(of_y)


def pays(config: Config, model: CycleGAN, precision: torch.dtype) -> bool:
    """Whether ``model``, made from ``config``, can and should go side by side on the CPU."""
    G, D, data, loss = config.generator, config.discriminator, config.data, config.loss
    one_shape = _shapes(model.G_ab) == _shapes(model.G_ba) and data.one_size
    can_pair = G.architecture == "resnet" and {G.norm, D.norm} <= set(PAIRED_NORMS)
    # (DiscriminatorPair does nothing else to its pictures, and some losses ask for D_a and D_b.)
    straight = model.D_a.looks_straight and model.D_b.looks_straight
    needs_single_D = not straight or loss.has_gradient_penalty or loss.cycle_features > 0
    numbers = config.training.batch * G.width * data.size**2
    is_small = numbers <= MOST.get(precision, 0)
    return one_shape and can_pair and not needs_single_D and is_small


def _shapes(network: nn.Module) -> list[torch.Size]:
    return [weight.shape for weight in network.parameters()]
