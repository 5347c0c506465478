"""Sample sheets: the same held-out pictures, translated by the networks as they are now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image

from diptych.data.pixels import Pixels, preview
from diptych.model_file import GeneratorPair, Side
from diptych.networks.blocks import evaluation_mode

GAP = 4  # pixels between pictures


@dataclass(frozen=True)
class Translated:
    """One held-out picture and what became of it, as stored pixels."""

    picture: Pixels
    fake: Pixels
    rec: Pixels | None  # translated back, where the model can


@torch.no_grad()
def translate_there_and_back(
    pair: GeneratorPair, to: Side, picture: Pixels, device: torch.device
) -> Translated:
    """Translate one ``(H, W, C)`` picture to domain ``to``, and back."""
    own, other = pair.info.formats(to)
    back = pair.back_from(to)
    fake = pair.towards(to)(own.to_tensor(picture[None].copy()).to(device))
    rec = None if back is None else own.to_pixels(back(fake))[0]
    return Translated(picture, other.to_pixels(fake)[0], rec)


def sample_sheet(
    pair: GeneratorPair, a: list[Pixels], b: list[Pixels], device: torch.device
) -> Image.Image | None:
    """One row per picture: A, its translation, its reconstruction; beside it the same for B.

    What the model cannot do (CUT: the way back) is left out. Returns None if there is no picture.
    The networks are left in the mode they came in.
    """
    blocks = []
    with evaluation_mode(*pair.networks):
        for to in pair.ways:
            own, other = pair.info.formats(to)
            rows = []
            for picture in a if to == "b" else b:
                made = translate_there_and_back(pair, to, picture, device)
                row = [preview(picture, own), preview(made.fake, other)]
                rows.append(row if made.rec is None else [*row, preview(made.rec, own)])
            if rows:
                blocks.append(rows)
    cells = [cell for rows in blocks for row in rows for cell in row]
    if not cells:
        return None
    width, height = max(c.width for c in cells), max(c.height for c in cells)
    columns = sum(len(rows[0]) for rows in blocks)
    sheet = Image.new(
        "RGB",
        (
            columns * (width + GAP) - GAP + (len(blocks) - 1) * 2 * GAP,
            max(map(len, blocks)) * (height + GAP) - GAP,
        ),
        "white",
    )
    left = 0
    for rows in blocks:
        for y, row in enumerate(rows):
            for x, cell in enumerate(row):
                sheet.paste(cell, (left + x * (width + GAP), y * (height + GAP)))
        left += len(rows[0]) * (width + GAP) + 2 * GAP
    return sheet
