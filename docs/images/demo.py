"""Draw docs/images/demo.png from a finished demo: python docs/images/demo.py runs/demo."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diptych.data import town
from diptych.demo import SIZE, TRAINING_TOWNS
from diptych.translation.translator import load

ROWS, ZOOM, GAP, HEAD = 3, 2, 6, 26
HEADS = ("aerial picture", "diptych's map", "true map", "map", "diptych's aerial", "true aerial")

translator = load(sys.argv[1], "cpu")
font = ImageFont.load_default(15)
side = SIZE * ZOOM
left = [column * (side + GAP) + (4 * GAP if column > 2 else 0) for column in range(6)]
sheet = Image.new("RGB", (left[-1] + side, HEAD + ROWS * (side + GAP) - GAP), "white")
draw = ImageDraw.Draw(sheet)
for x, head in zip(left, HEADS, strict=True):
    draw.text((x + side / 2, HEAD / 2), head, "black", font, anchor="mm")
for row in range(ROWS):  # the first held-out towns, none chosen
    plan = town.plan_town(2 * TRAINING_TOWNS + row, SIZE)
    aerial, drawn = town.draw_aerial(plan), town.draw_map(plan)
    fake_map = translator.arrays([aerial], "b")[0]
    fake_aerial = translator.arrays([drawn], "a")[0]
    for x, cell in zip(left, (aerial, fake_map, drawn, drawn, fake_aerial, aerial), strict=True):
        picture = Image.fromarray(np.asarray(cell)).resize((side, side), Image.Resampling.NEAREST)
        corner = (x, HEAD + row * (side + GAP))
        sheet.paste(picture, corner)
        draw.rectangle((*corner, x + side - 1, corner[1] + side - 1), outline=(200, 200, 200))
sheet.save(Path(__file__).with_name("demo.png"), optimize=True)
