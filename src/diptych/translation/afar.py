"""Large pictures, seen from afar: what a network changes in a small one is brought to a large one.

A network that was trained on 64 px knows stripes of three pixels. In a photograph of 3,000 px it
would look for such, and find hairs. So it is shown the photograph shrunk; what it changes there is
enlarged, and added to the photograph, which keeps all of its detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diptych.data.pixels import PixelFormat, Pixels, resize
from diptych.errors import UsageError
from diptych.model_file import ModelInfo
from diptych.network_config import SMALLEST
from diptych.translation.scaling import scaled_shape, scaled_tensor
from diptych.words import counted, whole_number

See = int | Literal["auto", "own"]  # pixels of the shorter side that the network sees

NEAR = 4  # times the size of the training: up to here what it has learned fits, and is finer so
ALIKE = 0.2  # a difference in looks by which a place counts much less; pictures are [-1, 1]
LEAST = 1e-4  # what even one that looks quite different counts, so that the sum is never zero
BAND = 2**18  # pixels that are worked on at once
SCALED = ("resize-crop", "resize")  # trainings that show pictures at one size, whatever theirs


def parse_see(text: str, name: str = "--see") -> See:
    """What was typed. Raises UsageError, which calls it ``name``."""
    if text.lower() == "auto":
        return "auto"
    if text.lower() == "own":
        return "own"
    pixels = whole_number(text)
    if pixels is not None and pixels >= SMALLEST:
        return pixels
    raise UsageError(
        f"{name} {text!r}: give auto, own, or {SMALLEST} or more pixels of the shorter side"
    )


def pixels_seen(info: ModelInfo, see: See) -> int | None:
    """The shorter side that the networks see larger pictures at; None: their own.

    ``auto``: NEAR times the size of the training, for a model that paints changes to pictures of
    one size (measured: docs/recipe-log.md, "Photographs larger than the training").
    Raises UsageError where there is no adding a change to a picture, or too few pixels to see.
    """
    see = parse_see(str(see), "see")
    if see == "own":
        return None
    if see == "auto":
        return NEAR * info.size if info.retouches and info.preprocess in SCALED else None
    if info.a.channels != info.b.channels:
        raise UsageError(
            f"see {see}: A has {counted(info.a.channels, 'channel')} and B {info.b.channels}, so "
            "that what changes cannot be added to a picture; give a size instead"
        )
    return see


def seen_shape(height: int, width: int, side: int | None) -> tuple[int, int] | None:
    """What a network sees of such a picture; None: as it is, since it is no larger than that."""
    if side is None or min(height, width) <= side:
        return None
    return scaled_shape(height, width, side)


def tensor_from_afar(
    x: Tensor, seen: tuple[int, int], translate: Callable[[Tensor], Tensor]
) -> Tensor:
    """``translate`` sees ``(N, C, H, W)`` pictures in ``seen`` rows and columns; [-1, 1] all."""
    height, width = x.shape[2:]
    small = scaled_tensor(x, seen).clamp(-1, 1)
    change = translate(small) - small
    fake = torch.empty_like(x)
    for top, bottom in bands(height, len(x) * width):
        fake[:, :, top:bottom] = changed(x[:, :, top:bottom], change, small, top, height)
    return fake


def arrays_from_afar(
    pictures: Sequence[Pixels],
    seen: tuple[int, int],
    source: PixelFormat,
    target: PixelFormat,
    translate: Callable[[Tensor], Tensor],
    device: torch.device,
    progress: Callable[[float], None],
) -> list[Pixels]:
    """The same for stored ``(H, W, C)`` pictures of one shape, of which few rows become floats.

    ``progress`` is told the share that is done, 0 to 1, beginning when the network has seen them.
    """
    height, width = pictures[0].shape[:2]
    rows, columns = seen
    shown = np.stack([resize(picture, columns, rows) for picture in pictures])
    small = source.to_tensor(shown).to(device)
    change = translate(small) - small
    progress(0.0)
    fakes = []
    for i, picture in enumerate(pictures):
        fake = np.empty((height, width, target.channels), target.dtype)
        own = slice(i, i + 1)
        for top, bottom in bands(height, width):
            x = source.to_tensor(picture[None, top:bottom]).to(device)
            y = changed(x, change[own], small[own], top, height)
            fake[top:bottom] = target.to_pixels(y)[0]
            progress((i + bottom / height) / len(pictures))
        fakes.append(fake)
    return fakes


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """The first row of each band of a picture, and the one behind its last."""
    rows = max(1, BAND // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def changed(x: Tensor, change: Tensor, small: Tensor, top: int, height: int) -> Tensor:
    """Some rows of a large picture, with the change that was made to ``small``: in [-1, 1].

    ``x`` is ``(N, C, rows, W)``, those from ``top`` on of a picture ``height`` high. Joint
    bilateral upsampling (Kopf et al., 2007, eq. 3): each pixel takes the change of the four places
    around it, more of those that lie nearer (as in bilinear interpolation) and look more like it.
    So what is changed on a horse ends where the horse does.
    """
    rows, columns = x.shape[2:]
    down = _around(torch.arange(top, top + rows, device=x.device), height, small.shape[2])
    across = _around(torch.arange(columns, device=x.device), columns, small.shape[3])
    total = torch.zeros_like(x)
    weights = torch.zeros_like(x[:, :1])
    for row, near_row in down:
        for column, near_column in across:
            looks = small[:, :, row][..., column]
            unlike = (looks - x).square_().mean(1, keepdim=True)
            alike = unlike.mul_(-0.5 / ALIKE**2).exp_().add_(LEAST)
            weight = alike.mul_(near_row[:, None]).mul_(near_column)
            total.addcmul_(weight, change[:, :, row][..., column])
            weights.add_(weight)
    return total.div_(weights).add_(x).clamp_(-1, 1)


def _around(places: Tensor, length: int, small: int) -> list[tuple[Tensor, Tensor]]:
    """The places of a shorter line before and behind each of some places, and how near they are."""
    exact = (places.to(torch.float32) + 0.5) * (small / length) - 0.5
    before = exact.floor()
    behind = exact - before
    return [
        (before.long().clamp(min=0), 1 - behind),
        ((before.long() + 1).clamp(max=small - 1), behind),
    ]
