"""Each loss against its formula, written out or taken from elsewhere, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.losses import OBJECTIVES, gradient_penalty, l1, slope_penalty


@pytest.fixture
def verdicts() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 3, 1, 6, 6, dtype=torch.float64) * 3
    return real, fake


def test_lsgan(verdicts: tuple[Tensor, Tensor]) -> None:
    real, fake = verdicts
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    objective = OBJECTIVES["lsgan"]
    torch.testing.assert_close(objective.generator(fake), F.mse_loss(fake, ones))
    expected = F.mse_loss(real, ones) + F.mse_loss(fake, zeros)
    torch.testing.assert_close(objective.discriminator(real, fake), expected)


def test_bce(verdicts: tuple[Tensor, Tensor]) -> None:
    real, fake = verdicts
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    bce = F.binary_cross_entropy_with_logits
    objective = OBJECTIVES["bce"]
    torch.testing.assert_close(objective.generator(fake), bce(fake, ones))
    torch.testing.assert_close(
        objective.discriminator(real, fake), bce(real, ones) + bce(fake, zeros)
    )


def test_hinge(verdicts: tuple[Tensor, Tensor]) -> None:
    real, fake = verdicts
    objective = OBJECTIVES["hinge"]
    expected = sum(max(0.0, 1 - r) for r in real.flatten().tolist()) / real.numel()
    expected += sum(max(0.0, 1 + f) for f in fake.flatten().tolist()) / fake.numel()
    assert float(objective.discriminator(real, fake)) == pytest.approx(expected, rel=1e-12)
    assert float(objective.generator(fake)) == pytest.approx(-float(fake.mean()), rel=1e-12)


def test_wasserstein(verdicts: tuple[Tensor, Tensor]) -> None:
    real, fake = verdicts
    objective = OBJECTIVES["wgangp"]
    expected = float(fake.mean() - real.mean())
    assert float(objective.discriminator(real, fake)) == pytest.approx(expected, rel=1e-12)


def test_gradient_penalty_of_a_linear_critic_is_known() -> None:
    """For D(x) = w.x the slope is w everywhere, so the penalty is 10 (|w| - 1)^2."""
    w = torch.randn(3 * 4 * 4, dtype=torch.float64, requires_grad=True)

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ w

    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    penalty = gradient_penalty(Linear(), real, fake)
    torch.testing.assert_close(penalty, 10 * (w.norm() - 1).square())
    (slope,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(slope, 20 * (w.norm() - 1) * w / w.norm())


def test_slope_penalty_of_a_linear_critic_is_known() -> None:
    """For D(x) = w.x it is |w|^2 / 2, and its slope in w is w."""
    w = torch.randn(3 * 4 * 4, dtype=torch.float64, requires_grad=True)

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ w

    penalty = slope_penalty(Linear(), torch.randn(5, 3, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(penalty, w.square().sum() / 2)
    (slope,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(slope, w)


def test_l1_is_the_mean_absolute_difference() -> None:
    x, y = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(l1(x, y), F.l1_loss(x, y))
