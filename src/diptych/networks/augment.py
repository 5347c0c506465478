"""Random shifts and colours for what D sees (Zhao et al., 2020, "DiffAugment").

Real and fake pictures are changed alike and the gradient passes through, so D cannot tell them
apart by exact places or tints, and G is not taught the changes themselves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_SHIFT = 1 / 8  # of the side


def augment(x: Tensor) -> Tensor:
    """Each ``(C, H, W)`` picture of the batch in other colours and shifted; same shape.

    Values may leave [-1, 1]: strong colours reach up to 4.5 times as far. Uses PyTorch's own random
    numbers on the device of ``x``.
    """
    return shift(recolour(x))


def recolour(x: Tensor) -> Tensor:
    """Brightness + U(-1/2, 1/2), saturation x U(0, 2), contrast x U(1/2, 3/2), per picture."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device).unbind()
    x = x + (brightness - 0.5)
    if x.shape[1] == 3:
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * (2 * saturation)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def shift(x: Tensor) -> Tensor:
    """Move each picture by up to an eighth of its height and width; zeros come in."""
    height, width = x.shape[2:]
    down, right = int(height * LARGEST_SHIFT + 0.5), int(width * LARGEST_SHIFT + 0.5)
    padded = F.pad(x, (right, right, down, down))
    top = torch.randint(2 * down + 1, (len(x), 1, 1), device=x.device)
    left = torch.randint(2 * right + 1, (len(x), 1, 1), device=x.device)
    rows = torch.arange(height, device=x.device)[:, None] + top
    columns = torch.arange(width, device=x.device) + left
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    moved: Tensor = padded.permute(0, 2, 3, 1)[picture, rows, columns]
    return moved.permute(0, 3, 1, 2)
