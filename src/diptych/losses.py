"""What the networks minimise. Verdicts are raw discriminator outputs of any shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.config import LossConfig


@dataclass(frozen=True)
class Objective:
    """An adversarial game: what G minimises, and what D minimises in return."""

    generator: Callable[[Tensor], Tensor]  # verdicts on fakes -> scalar
    discriminator: Callable[[Tensor, Tensor], Tensor]  # verdicts on real, on fakes -> scalar


def lsgan_generator(on_fake: Tensor) -> Tensor:
    """mean((D(fake) - 1)^2): least squares (twice Mao et al., 2017, eq. 9)."""
    return (on_fake - 1).square().mean()


def lsgan_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """mean((D(real) - 1)^2) + mean(D(fake)^2) (twice Mao et al., 2017, eq. 9)."""
    return (on_real - 1).square().mean() + on_fake.square().mean()


def bce_generator(on_fake: Tensor) -> Tensor:
    """mean(-log sigmoid(D(fake))): the non-saturating form (Goodfellow et al., 2014, section 3)."""
    return F.softplus(-on_fake).mean()


def bce_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Sigmoid cross-entropy with targets 1 and 0 (Goodfellow et al., 2014, eq. 1)."""
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


def hinge_generator(on_fake: Tensor) -> Tensor:
    """-mean(D(fake)) (Lim & Ye, 2017)."""
    return -on_fake.mean()


def hinge_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake))) (Lim & Ye, 2017)."""
    return F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()


def wasserstein_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """mean(D(fake)) - mean(D(real)) (Gulrajani et al., 2017, eq. 3 without its penalty)."""
    return on_fake.mean() - on_real.mean()


OBJECTIVES = {
    "lsgan": Objective(lsgan_generator, lsgan_discriminator),
    "bce": Objective(bce_generator, bce_discriminator),
    "hinge": Objective(hinge_generator, hinge_discriminator),
    "wgangp": Objective(hinge_generator, wasserstein_discriminator),  # (G's part is the same)
}


def noisy(x: Tensor, deviation: float) -> Tensor:
    """``x + N(0, deviation)``: what D judges under instance noise (Sonderby et al., 2017).

    Real and fake pictures overlap once both are blurred by noise, so D cannot win by single pixels
    (Arjovsky & Bottou, 2017), and its slope stays small, as under a gradient penalty (Roth et al.,
    2017): what it teaches G is then texture, not noise.
    """
    if deviation == 0:
        return x
    # (Drawn in its own layout: for channels that lie last it takes the CPU eight times as long.)
    return x + deviation * torch.randn(x.shape, dtype=x.dtype, device=x.device)


PENALTY_WEIGHT = 10.0  # lambda of Gulrajani et al., 2017, section 4


def gradient_penalty(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """10 * mean((|dD/dx| - 1)^2) at random points between real and fake pictures.

    Gulrajani et al., 2017, eq. 3; D there is the sum of its verdicts on a picture, so that the
    bound is tighter the larger pictures are. ``real`` and ``fake`` are ``(N, C, H, W)``; if one
    batch is longer, its last pictures are left out.
    """
    pairs = min(len(real), len(fake))
    real, fake = real[:pairs], fake[:pairs]
    between = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    x = torch.lerp(real, fake, between).requires_grad_(True)
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    steepness: Tensor = slope.flatten(1).norm(dim=1)
    return PENALTY_WEIGHT * (steepness - 1).square().mean()


def r1_penalty(D: nn.Module, real: Tensor) -> Tensor:
    """mean |dD/dx|^2 / 2 at real pictures ``(N, C, H, W)`` (Mescheder et al., 2018, eq. 9).

    D there is the sum of its verdicts on a picture: the larger that is, the more it counts.
    """
    x = real.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return slope.square().flatten(1).sum(dim=1).mean() / 2


def gradient_penalties(D: nn.Module, real: Tensor, fake: Tensor, weights: LossConfig) -> Tensor:
    """Those on the slope of one discriminator that ``weights`` ask for; 0 if none.

    In float32, but for weights that are bf16 themselves (on a CPU): the second derivative of a norm
    leaves the range of fp16.
    """
    penalty = torch.zeros((), device=real.device)
    with torch.autocast(real.device.type, enabled=False):
        if weights.adversarial == "wgangp":
            penalty = penalty + gradient_penalty(D, real.float(), fake.float())
        if weights.r1 > 0:
            penalty = penalty + weights.r1 * r1_penalty(D, real.float())
    return penalty


def l1(x: Tensor, y: Tensor) -> Tensor:
    """mean|x - y|, over everything."""
    return (x - y).abs().mean()


PLAIN = 0.02  # a standard deviation that counts as texture: 2.5 levels of 255


def plainness(x: Tensor) -> Tensor:
    """1 where one colour is all around, toward 0 where there is texture: ``(N, 1, H, W)``.

    Squares whose side is about a sixth of the picture's are judged by ``exp(-variance / PLAIN^2)``,
    and a pixel is as plain as the plainest of those that it lies in: so a sky ends where the horse
    begins, and not half a square before. Beyond the border the picture is mirrored. ``x`` is
    ``(N, C, H, W)``.
    """
    reach = max(1, min(x.shape[2:]) // 12)
    side = 2 * reach + 1
    # (channels first: with three channels that lie last all this takes 1.15 times as long)
    mirrored = F.pad(x.contiguous(), [reach] * 4, "reflect")
    power = mirrored.square().mean(1, keepdim=True)
    mean = _means(mirrored, side)
    variance = _means(power, side) - mean.square().mean(1, keepdim=True)
    of_squares = (-variance.clamp(min=0) / PLAIN**2).exp()
    return _highest(F.pad(of_squares, [reach] * 4), side)


def _means(x: Tensor, side: int) -> Tensor:
    """Of each square of ``side`` pixels, by running sums (Crow, 1984): of any size as quickly."""
    x = F.pad(x, (1, 0, 1, 0))
    for dim in (2, 3):
        sums = x.cumsum(dim)
        squares = sums.shape[dim] - side
        x = sums.narrow(dim, side, squares) - sums.narrow(dim, 0, squares)
    return x / side**2


def _highest(x: Tensor, side: int) -> Tensor:
    """Of each square of ``side`` pixels: each step looks at stretches twice as long."""
    for dim in (2, 3):
        length = 1
        while length < side:
            step = min(length, side - length)
            length += step
            x = torch.maximum(
                x.narrow(dim, 0, x.shape[dim] - step), x.narrow(dim, step, x.shape[dim] - step)
            )
    return x


def plain_l1(fake: Tensor, source: Tensor) -> Tensor:
    """mean(plainness(source) * |fake - source|): skies and walls should stay as they are.

    Where a picture shows nothing, there is nothing to translate; yet D may have seen no such sky in
    its domain. The context loss of InstaGAN (Mo et al., 2019, section 2.2) holds all that its masks
    leave out; here nobody draws masks.
    """
    return (plainness(source) * (fake - source).abs()).mean()
