"""Which pictures look nearly the same: saved again, scaled, or a moment later.

Each picture gets a small grey copy and 63 bits that change little with it: whether each of its
lowest frequencies is above their median (a perceptual hash). Pairs with nearly the same bits are
found through tables of parts of them, and are told from chance by their small copies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.data.pixels import Pixels, to_pil

SIDE = 32  # of the copy that is hashed
SMALL = 16  # of the copy that is kept
MOST_BITS = 6  # that may differ: of seven parts of nine bits one is then the same in both
PARTS, PART_BITS = 7, 9
CORRELATION = 0.985  # of the small copies, at least
MOST_AWAY = 32.0  # of 255, mean difference of the small copies, at most: exposures differ
NEIGHBOURS = 200  # looked at in a table's row: bounds the time where all pictures are much alike


@dataclass(frozen=True)
class Look:
    """What a picture looks like, in little room."""

    bits: int
    small: NDArray[np.uint8]  # (SMALL * SMALL,)


def look_of(picture: Pixels) -> Look:
    """The look of an ``(H, W, C)`` picture. Of deeper values than 8 bits their order counts."""
    grey = np.asarray(_grey(picture).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    frequencies = (_COSINES @ grey @ _COSINES.T).ravel()[1:]  # without the mean
    above = frequencies > np.median(frequencies)
    bits = int.from_bytes(np.packbits(above).tobytes(), "big") >> 1
    half = SIDE // SMALL
    small = grey.reshape(SMALL, half, SMALL, half).mean((1, 3))
    return Look(bits, small.round().clip(0, 255).astype(np.uint8).ravel())


def _grey(picture: Pixels) -> Image.Image:
    if picture.dtype == np.uint8 and picture.shape[2] in (1, 3):
        return to_pil(picture).convert("L")
    step = max(1, min(picture.shape[:2]) // 256)
    values = picture[::step, ::step].mean(-1, dtype=np.float64)
    # By their order: else a corner without data (-9999) would leave the rest one grey.
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.cumsum(counts)[places.reshape(values.shape)]
    return Image.fromarray((order * (255 / values.size)).astype(np.float32))


def _cosines() -> NDArray[np.float32]:
    """The eight lowest basis functions of the discrete cosine transform, (8, SIDE)."""
    frequency, place = np.mgrid[0:8, 0:SIDE]
    cosines: NDArray[np.float32] = np.cos(np.pi / SIDE * (place + 0.5) * frequency)
    return cosines.astype(np.float32)


_COSINES = _cosines()


def alike_pairs(looks: Iterable[Look]) -> list[tuple[int, int]]:
    """The pairs of places in ``looks``, the smaller first, whose pictures look nearly the same.

    The work grows with the number of pictures times the length of the tables' rows, of which at
    most NEIGHBOURS are compared with each picture: of very many pictures that are all alike not
    all pairs are found.
    """
    looks = list(looks)
    if len(looks) < 2:
        return []
    bits = np.array([look.bits for look in looks], np.uint64)
    small = np.stack([look.small for look in looks]).astype(np.float32)
    centred = small - small.mean(1, keepdims=True)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    found = [np.empty(0, np.int64)]  # pairs, as smaller * count + larger
    for part in range(PARTS):
        key = (bits >> np.uint64(part * PART_BITS)) & np.uint64(2**PART_BITS - 1)
        order = np.lexsort((bits, key))  # rows of the table, the most alike beside each other
        sorted_key = key[order]
        for away in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            same_row = sorted_key[away:] == sorted_key[:-away]
            if not same_row.any():
                break
            i, j = order[:-away][same_row], order[away:][same_row]
            near = _differing(bits[i] ^ bits[j]) <= MOST_BITS
            i, j = i[near], j[near]
            near = (unit[i] * unit[j]).sum(1) >= CORRELATION
            near &= np.abs(small[i] - small[j]).mean(1) <= MOST_AWAY
            i, j = i[near], j[near]
            found.append(np.minimum(i, j) * len(looks) + np.maximum(i, j))
    pairs = np.unique(np.concatenate(found))
    return list(zip((pairs // len(looks)).tolist(), (pairs % len(looks)).tolist(), strict=True))


_ONES = np.array([n.bit_count() for n in range(2**16)], np.uint8)


def _differing(bits: NDArray[np.uint64]) -> NDArray[Any]:
    """How many bits of each are set."""
    ones: NDArray[Any] = _ONES[bits.view(np.uint16).reshape(-1, 4)].sum(1)
    return ones


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The sets of two and more of ``0 .. count - 1`` that ``pairs`` join, each in order."""
    leader = list(range(count))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for i, j in pairs:
        a, b = find(i), find(j)
        leader[max(a, b)] = min(a, b)
    members: dict[int, list[int]] = {}
    for i in range(count):
        members.setdefault(find(i), []).append(i)
    return [group for group in members.values() if len(group) > 1]
