"""Built-in data: an endless supply of small towns, drawn as aerial pictures and as street maps.

A town is a random street plan with parks, houses and often a river. Both drawings come from one
plan, so for held-out towns the true translation is known, pixel by pixel; the training folders
are made from different towns, so there are no pairs to learn from.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diptych.data.pixels import nearest_colour

Array = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]  # left, top, right, bottom

CLASSES = ("garden", "street", "house", "park", "water")
GARDEN, STREET, HOUSE, PARK, WATER = range(5)
MAP_COLOURS = np.array(
    [(238, 224, 190), (255, 255, 255), (186, 104, 92), (150, 206, 128), (108, 172, 228)], np.uint8
)
ROOFS = np.array([(168, 84, 62), (184, 110, 78), (130, 74, 64), (150, 92, 84)], np.float32)
AERIAL_COLOURS = (  # typical colours of each class, in the sun and in the shade
    (GARDEN, (134, 150, 88)),
    (GARDEN, (88, 100, 60)),
    (STREET, (128, 126, 124)),
    (STREET, (74, 73, 72)),
    (HOUSE, (182, 98, 74)),
    (HOUSE, (133, 71, 55)),
    (PARK, (88, 122, 62)),
    (PARK, (62, 98, 46)),
    (WATER, (44, 74, 100)),
)
FINE = 3  # plans are drawn this many times finer, then reduced: aerial edges come out soft


@dataclass(frozen=True)
class Town:
    """A plan on a grid ``FINE`` times finer than the pictures."""

    size: int  # pixels a side of the finished pictures
    classes: Array  # (FINE * size, FINE * size), values index CLASSES
    houses: tuple[Box, ...]
    trees: tuple[tuple[float, float, float], ...]  # x, y, radius
    seed: int


def plan_town(seed: int, size: int = 64) -> Town:
    """Lay out the town number ``seed`` for pictures of ``size`` x ``size`` pixels."""
    rng = np.random.default_rng([seed, 0])
    n = size * FINE
    metre = n / 64  # every picture shows 64 x 64 metres, whatever its size
    # Shift the plan, so that the outer streets are not always at the picture's edge.
    x0, y0 = -rng.uniform(2, 14, 2) * metre
    streets: list[tuple[Box, int]] = []
    blocks: list[Box] = []
    _split((x0, y0, n + 14 * metre, n + 14 * metre), 0, metre, rng, streets, blocks)

    canvas = Image.new("L", (n, n), GARDEN)
    draw = ImageDraw.Draw(canvas)
    parks = [block for block in blocks if rng.random() < 0.17]
    for park in parks:
        draw.rectangle(park, fill=PARK)
    river = _river(n, metre, rng) if rng.random() < 0.5 else None
    wide_streets = [box for box, depth in streets if depth < 2]
    for box, _ in streets:
        draw.rectangle(box, fill=STREET)
    if river is not None:
        points, half = river
        for x, y in points:
            draw.ellipse((x - half, y - half, x + half, y + half), fill=WATER)
        for box in wide_streets:  # side streets end at the river, wide ones cross it
            draw.rectangle(box, fill=STREET)

    ground = np.asarray(canvas)
    houses = [
        house
        for block in blocks
        if block not in parks
        for house in _houses(block, metre, rng)
        if _free(ground, house, metre)
    ]
    for house in houses:
        draw.rectangle(house, fill=HOUSE)
    classes = np.asarray(canvas).copy()
    return Town(size, classes, tuple(houses), tuple(_trees(classes, metre, rng)), seed)


def _split(
    box: Box,
    depth: int,
    metre: float,
    rng: np.random.Generator,
    streets: list[tuple[Box, int]],
    blocks: list[Box],
) -> None:
    """Cut ``box`` in two with a street across its longer side, until blocks are small."""
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    if max(wide, high) < 34 * metre or (depth > 2 and rng.random() < 0.12):
        blocks.append(box)
        return
    half = (2.8, 2.3, 1.8)[min(depth, 2)] * metre  # half the street's width
    cut = rng.uniform(0.38, 0.62)
    if wide > high:
        x = left + cut * wide
        streets.append(((x - half, top, x + half, bottom), depth))
        parts = (left, top, x - half, bottom), (x + half, top, right, bottom)
    else:
        y = top + cut * high
        streets.append(((left, y - half, right, y + half), depth))
        parts = (left, top, right, y - half), (left, y + half, right, bottom)
    for part in parts:
        _split(part, depth + 1, metre, rng, streets, blocks)


def _river(
    n: int, metre: float, rng: np.random.Generator
) -> tuple[list[tuple[float, float]], float]:
    """Close points on a winding line from one side to the other, and half the river's width."""
    along = np.linspace(-0.05 * n, 1.05 * n, 200)
    bend = rng.uniform(3, 8) * metre * np.sin(along / n * rng.uniform(3, 7) + rng.uniform(0, 6.3))
    across = rng.uniform(0.2, 0.8) * n + rng.uniform(-0.25, 0.25) * along + bend
    points = list(zip(along.tolist(), across.tolist(), strict=True))
    if rng.random() < 0.5:
        points = [(y, x) for x, y in points]
    return points, rng.uniform(3.5, 5.5) * metre


def _houses(block: Box, metre: float, rng: np.random.Generator) -> list[Box]:
    """One house on each lot of the block, a little off its middle; some lots stay empty."""
    left, top, right, bottom = block
    across = max(1, round((right - left) / (11.5 * metre)))
    down = max(1, round((bottom - top) / (11.5 * metre)))
    lot_w, lot_h = (right - left) / across, (bottom - top) / down
    houses = []
    for row in range(down):
        for column in range(across):
            if rng.random() < 0.12:
                continue
            w, h = rng.uniform(5.5, 7.5, 2) * metre
            w, h = min(w, lot_w - 3 * metre), min(h, lot_h - 3 * metre)
            if min(w, h) < 3.5 * metre:
                continue
            dx, dy = rng.uniform(-0.8, 0.8, 2) * metre
            x = left + (column + 0.5) * lot_w - w / 2 + dx
            y = top + (row + 0.5) * lot_h - h / 2 + dy
            houses.append((x, y, x + w, y + h))
    return houses


def _free(ground: Array, house: Box, metre: float) -> bool:
    """Whether the house and a strip around it stand on garden, inside the picture's reach."""
    left, top, right, bottom = (int(v) for v in house)
    strip = int(metre)
    spot = ground[max(top - strip, 0) : bottom + strip, max(left - strip, 0) : right + strip]
    return bool(spot.size and (spot == GARDEN).all())


def _trees(
    classes: Array, metre: float, rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """Many trees in parks, a few in gardens."""
    n = len(classes)
    trees = []
    for x, y in rng.uniform(0, n, (420, 2)):
        kind = classes[int(y), int(x)]
        if kind == PARK or (kind == GARDEN and rng.random() < 0.05):
            trees.append((float(x), float(y), float(rng.uniform(1.0, 1.9) * metre)))
    return trees


def draw_classes(town: Town) -> Array:
    """The truth: ``(size, size)`` indices into CLASSES."""
    return town.classes[FINE // 2 :: FINE, FINE // 2 :: FINE]


def draw_map(town: Town) -> Array:
    """The street map in flat colours: ``(size, size, 3)`` uint8."""
    return MAP_COLOURS[draw_classes(town)]


def draw_aerial(town: Town) -> Array:
    """The aerial picture, with textures, trees and shadows: ``(size, size, 3)`` uint8."""
    rng = np.random.default_rng([town.seed, 1])
    n = len(town.classes)
    metre = n / 64
    ground = np.array(
        [(134, 150, 88), (128, 126, 124), (150, 90, 80), (88, 122, 62), (44, 74, 100)], np.float32
    )
    ground[GARDEN] += rng.normal(0, 6, 3)  # lawns are greener in some towns than in others
    picture = ground[town.classes]
    rough = np.array([9, 3, 0, 7, 2], np.float32)[town.classes]  # how much each surface varies
    picture += rough[..., None] * (_clouds(n, 6, rng) + 0.6 * _clouds(n, 2 * FINE, rng))[..., None]

    shade = Image.new("L", (n, n), 255)
    shadow = ImageDraw.Draw(shade)
    for left, top, right, bottom in town.houses:
        fall = 1.6 * metre
        corners = [(left + fall, top + fall), (right, top), (right + fall, top + fall)]
        corners += [(right + fall, bottom + fall), (left + fall, bottom + fall), (left, bottom)]
        shadow.polygon(corners, fill=130)
    for x, y, r in town.trees:
        shadow.ellipse((x - r + 0.5 * metre, y - r + 0.5 * metre, x + 1.5 * r, y + 1.5 * r), 170)
    picture *= np.asarray(shade, np.float32)[..., None] / 255

    canvas = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for x, y, r in town.trees:
        green = np.array((62, 98, 46)) + rng.normal(0, 7, 3)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(green))
        draw.ellipse((x - r * 0.7, y - r * 0.7, x + r * 0.2, y + r * 0.2), fill=_colour(green + 16))
    for left, top, right, bottom in town.houses:
        roof = ROOFS[rng.integers(len(ROOFS))] + rng.normal(0, 6, 3)
        draw.rectangle((left, top, right, bottom), fill=_colour(roof * 1.12))
        if right - left > bottom - top:  # the ridge runs along the longer side; light from above
            draw.rectangle((left, (top + bottom) / 2, right, bottom), fill=_colour(roof * 0.84))
        else:
            draw.rectangle(((left + right) / 2, top, right, bottom), fill=_colour(roof * 0.84))
    return np.asarray(canvas.resize((town.size, town.size), Image.Resampling.BOX))


def _clouds(n: int, cell: int, rng: np.random.Generator) -> Floats:
    """Smooth noise of standard deviation about 1 that changes over ``cell`` grid points."""
    small = rng.normal(0, 1.4, (n // cell + 2, n // cell + 2)).astype(np.float32)
    smooth = Image.fromarray(small).resize((n, n), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32)


def _colour(rgb: NDArray[np.floating]) -> tuple[int, int, int]:
    red, green, blue = rgb.clip(0, 255).astype(int).tolist()
    return red, green, blue


def read_map(picture: Array) -> Array:
    """The class of each pixel of a map, ``(..., H, W, 3)`` uint8, by the nearest map colour."""
    return nearest_colour(picture, MAP_COLOURS).astype(np.uint8)


def read_aerial(picture: Array) -> Array:
    """The class of each pixel of an aerial picture, ``(..., H, W, 3)`` uint8, by its colour.

    That of the nearest typical ground colour; shadows and noise make it err now and then.
    """
    colours = np.array([colour for _, colour in AERIAL_COLOURS], np.uint8)
    kinds = np.array([kind for kind, _ in AERIAL_COLOURS], np.uint8)
    nearest: Array = kinds[nearest_colour(picture, colours)]
    return nearest


def write_towns(folder: Path, train: int, test: int, size: int = 64) -> None:
    """Write ``train`` pictures of each domain from different towns, and ``test`` true pairs.

    ``folder`` gets trainA (aerial), trainB (maps), and testA, testB with the same names.
    """
    pictures = {
        **{f"trainA/town-{i:04d}.png": (i, draw_aerial) for i in range(train)},
        **{f"trainB/town-{i:04d}.png": (i, draw_map) for i in range(train, 2 * train)},
        **{f"testA/town-{i:04d}.png": (i, draw_aerial) for i in range(2 * train, 2 * train + test)},
        **{f"testB/town-{i:04d}.png": (i, draw_map) for i in range(2 * train, 2 * train + test)},
    }
    for part in ("trainA", "trainB", "testA", "testB"):
        (folder / part).mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        seed, draw = pictures[name]
        Image.fromarray(draw(plan_town(seed, size))).save(folder / name)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, pictures))
