"""Each loss against its formula, written out or taken from elsewhere, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from diptych.losses import OBJECTIVES, gradient_penalty, l1, noisy, plain_l1, plainness, r1_penalty


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


def test_gradient_penalty_looks_between_real_and_fake_pictures() -> None:
    """For D(x) = |x|^2 / 2 the slope is x itself. Each pair has one share of its own."""
    seen: list[Tensor] = []

    class Bowl(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return x.square().flatten(1).sum(1) / 2

    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    penalty = gradient_penalty(Bowl(), real, fake)
    (points,) = seen
    shares = ((points - real) / (fake - real)).flatten(1)
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares))
    assert 0 < float(shares.min()) < float(shares.max()) < 1
    assert len(set(shares[:, 0].tolist())) == 5
    expected = 10 * (points.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(penalty, expected)


def test_r1_penalty_of_a_linear_critic_is_known() -> None:
    """For D(x) = w.x it is |w|^2 / 2, and its slope in w is w."""
    w = torch.randn(3 * 4 * 4, dtype=torch.float64, requires_grad=True)

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ w

    penalty = r1_penalty(Linear(), torch.randn(5, 3, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(penalty, w.square().sum() / 2)
    (slope,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(slope, w)


def test_l1_is_the_mean_absolute_difference() -> None:
    x, y = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(l1(x, y), F.l1_loss(x, y))


def test_plainness_is_its_formula() -> None:
    """Here with the mirrored squares cut out by hand: of 11 pixels where sides are 60 to 71 long,
    of 3 in the smallest pictures."""
    for side, reach in ((20, 1), (64, 5)):
        square = 2 * reach + 1
        x = 0.02 * torch.randn(2, 3, side, side + 5, dtype=torch.float64) + 0.9
        mirrored = np.pad(x.numpy(), [(0, 0), (0, 0), (reach, reach), (reach, reach)], "reflect")
        squares = sliding_window_view(mirrored, (square, square), axis=(2, 3))
        of_squares = np.exp(-squares.var(axis=(-2, -1)).mean(axis=1) / 0.02**2)
        around = np.pad(of_squares, [(0, 0), (reach, reach), (reach, reach)])  # (none is below 0)
        expected = sliding_window_view(around, (square, square), axis=(1, 2)).max(axis=(-2, -1))
        torch.testing.assert_close(plainness(x), torch.from_numpy(expected)[:, None])


def test_what_is_plain_should_stay_and_texture_may_change() -> None:
    """A sky as blue as can be over a checkerboard, which may change up to where the sky begins."""
    source = torch.stack([torch.tensor([-1.0, 0.0, 1.0])] * 32)[:, :, None].expand(32, 3, 32)
    source = source.permute(1, 0, 2)[None].clone()
    source[:, :, 16:] = (torch.arange(16)[:, None] + torch.arange(32)) % 2
    repainted = source.clone()
    repainted[:, :, 16:] = -1
    assert float(plain_l1(repainted, source)) == 0
    repainted[:, :, :16] += 0.5
    assert float(plain_l1(repainted, source)) == pytest.approx(0.5 / 2, rel=1e-3)


def test_noise_differs_from_place_to_place() -> None:
    torch.manual_seed(0)
    x = noisy(torch.zeros(400, 2, 3, 3), 0.5)
    assert float(x.std()) == pytest.approx(0.5, rel=0.05)
    pixels = x.flatten(1)
    together = pixels.T @ pixels / len(pixels)
    torch.testing.assert_close(together, 0.25 * torch.eye(18), atol=0.08, rtol=0)
    assert not torch.equal(x[0], x[1])
    assert noisy(x, 0) is x
