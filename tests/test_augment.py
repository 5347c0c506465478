"""What D sees when its pictures are changed: every change is one of those that are allowed."""

from __future__ import annotations

import torch
from conftest import TINY

from diptych.networks import Discriminator
from diptych.networks.augment import augment, recolour, shift
from diptych.settings import build_config, merge


def test_a_shift_moves_each_picture_by_whole_pixels_within_an_eighth() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 3, 16, 24)
    seen = set()
    for before, after in zip(x, shift(x), strict=True):
        padded = torch.nn.functional.pad(before, (3, 3, 2, 2))
        places = [
            (top, left)
            for top in range(5)
            for left in range(7)
            if torch.equal(padded[:, top : top + 16, left : left + 24], after)
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) > 20  # of 35


def test_recolouring_keeps_what_is_where() -> None:
    """A picture of two colours stays one, with its edge in place; brightness moves at most 1/2."""
    torch.manual_seed(0)
    x = torch.full((50, 3, 8, 8), 0.25)
    assert float((recolour(x) - 0.25).abs().max()) <= 0.5
    assert float(recolour(x).mean(dim=(1, 2, 3)).std()) > 0.2
    x[:, 0, :, 4:] = -0.75
    y = recolour(x)
    assert torch.equal(y[..., :4], y[..., :1].expand(-1, -1, -1, 4))
    assert torch.equal(y[..., 4:], y[..., 4:5].expand(-1, -1, -1, 4))
    contrast = (y.mean(1)[:, 0, 0] - y.mean(1)[:, 0, 7]) / (x.mean(1)[:, 0, 0] - x.mean(1)[:, 0, 7])
    assert float(contrast.min()) >= 0.5
    assert float(contrast.max()) <= 1.5


def test_colours_are_changed_as_far_as_said() -> None:
    """Brightness by U(-1/2, 1/2), saturation by U(0, 2), contrast by U(1/2, 3/2)."""
    torch.manual_seed(0)
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    y = recolour(x.expand(4000, -1, -1, -1))
    brightness = y.mean((1, 2, 3)) - x.mean()
    grey_x, grey_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    contrast = grey_y.std((1, 2, 3)) / grey_x.std()
    saturation = (y - grey_y).std((1, 2, 3)) / (x - grey_x).std() / contrast
    for value, low, high in ((brightness, -0.5, 0.5), (contrast, 0.5, 1.5), (saturation, 0, 2)):
        assert low - 1e-9 <= float(value.min()) < low + 0.02
        assert high - 0.02 < float(value.max()) <= high + 1e-9


def test_only_training_is_augmented_and_gradients_pass() -> None:
    torch.manual_seed(0)
    config = build_config(merge(TINY, {"discriminator": {"augment": True}}))
    D = Discriminator(config.discriminator, 3)
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    assert not torch.equal(D(x), D(x))
    D(x).sum().backward()
    assert x.grad is not None
    D.eval()
    assert torch.equal(D(x), D(x))
    assert augment(torch.randn(2, 1, 8, 8)).shape == (2, 1, 8, 8)
