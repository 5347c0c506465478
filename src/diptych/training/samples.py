"""Sample sheets: the same held-out pictures, translated by the networks as they are now."""

from __future__ import annotations

import torch
from PIL import Image
from torch import nn

from diptych.data.pixels import PixelFormat, Pixels, preview
from diptych.model_file import GeneratorPair
from diptych.networks.blocks import evaluation_mode

GAP = 4  # pixels between pictures


@torch.no_grad()
def translate_there_and_back(
    there: nn.Module,
    back: nn.Module,
    picture: Pixels,
    own: PixelFormat,
    other: PixelFormat,
    device: torch.device,
) -> tuple[Pixels, Pixels]:
    """One ``(H, W, C)`` picture's translation and its reconstruction, as stored pixels."""
    x = own.to_tensor(picture[None].copy()).to(device)
    fake = there(x)
    return other.to_pixels(fake)[0], own.to_pixels(back(fake))[0]


def sample_sheet(
    pair: GeneratorPair, a: list[Pixels], b: list[Pixels], device: torch.device
) -> Image.Image | None:
    """One row per picture: A, its translation, its reconstruction; beside it the same for B.

    Returns None if there is no picture. The networks are left in the mode they came in.
    """
    rows_a = _rows(pair.G_ab, pair.G_ba, a, pair.info.a, pair.info.b, device)
    rows_b = _rows(pair.G_ba, pair.G_ab, b, pair.info.b, pair.info.a, device)
    cells = [cell for row in rows_a + rows_b for cell in row]
    if not cells:
        return None
    width, height = max(c.width for c in cells), max(c.height for c in cells)
    left = 3 * (width + GAP)
    sheet = Image.new(
        "RGB",
        (2 * left + GAP, max(len(rows_a), len(rows_b)) * (height + GAP) - GAP),
        "white",
    )
    for x0, rows in ((0, rows_a), (left + 2 * GAP, rows_b)):
        for y, row in enumerate(rows):
            for x, cell in enumerate(row):
                sheet.paste(cell, (x0 + x * (width + GAP), y * (height + GAP)))
    return sheet


def _rows(
    there: nn.Module, back: nn.Module, pictures: list[Pixels], own: PixelFormat,
    other: PixelFormat, device: torch.device,
) -> list[list[Image.Image]]:  # fmt: skip
    rows = []
    with evaluation_mode(there, back):
        for picture in pictures:
            fake, rec = translate_there_and_back(there, back, picture, own, other, device)
            rows.append([preview(picture, own), preview(fake, other), preview(rec, own)])
    return rows
