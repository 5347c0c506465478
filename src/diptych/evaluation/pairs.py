"""Scores of a picture against the one it should be: L1, PSNR, SSIM, classes of a palette.

Pictures are ``(N, C, H, W)`` tensors in [-1, 1], so L1 runs from 0 to 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ImageColor
from torch import Tensor

from diptych.data.pixels import nearest_colour
from diptych.errors import UsageError
from diptych.losses import l1

SPAN = 2.0  # from -1 to 1


@dataclass(frozen=True)
class Likeness:
    """Means over pictures. PSNR is in decibels; SSIM is 1 for equal pictures."""

    l1: float
    psnr: float
    ssim: float


def likeness(x: Tensor, y: Tensor) -> Likeness:
    """Compare ``x`` with ``y``, picture by picture."""
    x, y = x.cpu(), y.cpu()  # not every device computes in float64
    return Likeness(float(l1(x, y)), float(psnr(x, y).mean()), float(ssim(x, y).mean()))


def mean_likeness(each: Sequence[Likeness]) -> Likeness | None:
    """The mean of each score; None of none."""
    if not each:
        return None
    return Likeness(*np.mean([(one.l1, one.psnr, one.ssim) for one in each], axis=0).tolist())


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """10 log10(span^2 / mean squared error) of each picture, ``(N,)``; 100 dB at most."""
    error = (x.double() - y.double()).square().flatten(1).mean(dim=1)
    return 10 * torch.log10(SPAN**2 / error.clamp(min=SPAN**2 * 1e-10))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each picture, ``(N,)`` (Wang et al., 2004, eq. 13).

    With the window of that paper, a Gaussian of 11 pixels and sigma 1.5, wherever it fits in;
    pictures smaller than that are compared with one window of their own size. Its luminance is
    that of values from 0 up, so black is 0 here too.
    """
    c1, c2 = (0.01 * SPAN) ** 2, (0.03 * SPAN) ** 2
    x, y = x.double() + SPAN / 2, y.double() + SPAN / 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).flatten(1).mean(dim=1)


def _blur(x: Tensor) -> Tensor:
    """Gaussian mean around each place where the window fits, ``(N * C, 1, H', W')``, float64."""
    planes = x.double().flatten(0, 1)[:, None]
    for axis, length in ((2, x.shape[2]), (3, x.shape[3])):
        size = min(11, length)
        place = torch.arange(size, dtype=torch.float64, device=x.device) - (size - 1) / 2
        window = torch.exp(-(place**2) / (2 * 1.5**2))
        shape = [1, 1, 1, 1]
        shape[axis] = size
        planes = F.conv2d(planes, (window / window.sum()).reshape(shape))
    return planes.reshape(*x.shape[:2], *planes.shape[2:])


FAR = 48  # levels of 255 in a channel: more than what JPEG does to a flat colour


@dataclass(frozen=True)
class PaletteScores:
    """How well label maps agree (Zhu et al., 2017, table 3). Shares from 0 to 1."""

    pixel_accuracy: float
    class_accuracy: float  # mean over the classes that occur in the truth
    class_iou: float  # mean intersection over union, over the same classes
    accuracy_of: dict[str, float]  # of each of them, by its colour
    strange: float = 0.0  # share of true pixels that are like no colour of the palette


def parse_palette(text: str) -> NDArray[np.uint8]:
    """Two or more colours, as ``"#eee0be,white"``, to a ``(K, 3)`` array. Raises UsageError."""
    try:
        colours = [ImageColor.getrgb(colour.strip())[:3] for colour in text.split(",")]
    except ValueError as error:
        raise UsageError(f"the palette {text!r}: {error}; write it as #ffffff,#00ff00") from error
    if len(set(colours)) < 2:
        raise UsageError(f"the palette {text!r} needs two or more different colours")
    return np.array(colours, np.uint8)


def palette_scores(
    fakes: Sequence[NDArray[np.uint8]],
    truths: Sequence[NDArray[np.uint8]],
    palette: NDArray[np.uint8],
) -> PaletteScores:
    """Read each pixel of pictures ``(H, W, 3)`` as the nearest of ``(K, 3)`` colours."""
    count, strange, pixels = len(palette), 0, 0
    table = np.zeros((count, count), np.int64)  # rows: true classes; columns: guessed ones
    for fake, truth in zip(fakes, truths, strict=True):
        guessed, true = nearest_colour(fake, palette), nearest_colour(truth, palette)
        away = np.abs(truth.astype(np.int16) - palette[true]).max(axis=-1)
        strange, pixels = strange + int((away > FAR).sum()), pixels + away.size
        both = np.bincount((true * count + guessed).ravel(), minlength=count**2)
        table += both.reshape(count, count)
    hits = np.diag(table)
    occurs = table.sum(axis=1) > 0
    accuracy = hits[occurs] / table.sum(axis=1)[occurs]
    union = (table.sum(axis=0) + table.sum(axis=1) - hits)[occurs]
    names = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette[occurs]]
    return PaletteScores(
        float(hits.sum() / table.sum()),
        float(accuracy.mean()),
        float((hits[occurs] / union).mean()),
        dict(zip(names, map(float, accuracy), strict=True)),
        strange / pixels,
    )
