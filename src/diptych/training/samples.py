"""Sample sheets: the same held-out pictures, translated by the networks as they are now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image

from diptych.data.pixels import Pixels, preview
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.networks.modes import evaluation_mode
from diptych.sides import Side

GAP = 4  # pixels between pictures


@dataclass(frozen=True)
class Translated:
    """A picture and what became of it, as stored pixels."""

    picture: Pixels
    fake: Pixels
    rec: Pixels | None  # translated back, where it was asked for and the model can


@torch.no_grad()
def translate_there_and_back(
    pair: GeneratorPair, to: Side, picture: Pixels, device: torch.device
) -> Translated:
    """Translate one ``(H, W, C)`` picture to domain ``to``, and back."""
    own, other = pair.info.formats(to)
    back = pair.back_from(to)
    fake = pair.towards(to)(own.to_tensor(picture[None]).to(device))
    rec = None if back is None else own.to_pixels(back(fake))[0]
    return Translated(picture, other.to_pixels(fake)[0], rec)


def translate_samples(
    pair: GeneratorPair, a: list[Pixels], b: list[Pixels], device: torch.device
) -> dict[Side, list[Translated]]:
    """All pictures of A and B, by the domain they were translated to, as far as the model can.

    The networks are left in the mode they came in.
    """
    with evaluation_mode(*pair.generators):
        return {
            to: [
                translate_there_and_back(pair, to, picture, device)
                for picture in (a if to == "b" else b)
            ]
            for to in pair.ways
        }


def sample_sheet(made: dict[Side, list[Translated]], info: ModelInfo) -> Image.Image | None:
    """One row per picture: A, its translation, its reconstruction; beside it the same for B.

    Returns None if there is no picture.
    """
    blocks = []
    for to, pictures in made.items():
        own, other = info.formats(to)
        rows = []
        for one in pictures:
            row = [preview(one.picture, own), preview(one.fake, other)]
            rows.append(row if one.rec is None else [*row, preview(one.rec, own)])
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
