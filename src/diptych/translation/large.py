"""Whether a picture fits into memory, and how to cut it into strips if it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diptych.errors import UsageError
from diptych.host.memory import memory_at_hand
from diptych.translation.feature_store import check_room, in_file, in_memory
from diptych.translation.rows import Rows, reflection
from diptych.translation.strips import Effort, Keep
from diptych.words import whole_number

Tile = int | Literal["auto", "off"]  # rows of a strip

MOST_MEMORY = 4e9  # bytes for a process that cuts a picture, the picture itself included
PROCESS = 0.6e9  # of that: Python, PyTorch, what they leave unused
TO_USE = 0.7  # of the memory at hand: other programs want some
MOST_ROWS = 512  # in a strip: more do not make it faster


def parse_tile(text: str, name: str = "--tile") -> Tile:
    """The tile as typed. Raises UsageError, which calls it ``name``."""
    if text.lower() == "auto":
        return "auto"
    if text.lower() == "off":
        return "off"
    rows = whole_number(text)
    if rows is not None and rows > 0:
        return rows
    raise UsageError(f"{name} {text!r}: give auto, off, or how many rows to translate at a time")


@dataclass(frozen=True)
class Cut:
    """Strips of ``rows`` rows; features are kept by ``keep``; ``work`` multiplications in all."""

    rows: int
    keep: Keep
    work: float


def padded_picture(
    read: Callable[[Tensor], Tensor], channels: int, shape: tuple[int, int],
    padded: tuple[int, int], device: torch.device,
) -> Rows:  # fmt: skip
    """A picture, padded by reflection at the bottom and the right, on ``device``.

    ``read(places)`` gives the rows of the picture at ``places``, ``(1, channels, rows, W)``.
    """
    (height, width), (rows, columns) = shape, padded
    across = reflection(torch.arange(columns), width)

    def strip(top: int, bottom: int) -> Tensor:
        places = reflection(torch.arange(top, bottom), height)
        x = read(places).to(device, torch.float32)
        return x if columns == width else x[..., across.to(device)]

    size = 4.0 * channels * columns
    return Rows(channels, rows, columns, strip, work=size / 4, room=3 * size)


def how_to_cut(
    needs: Effort,
    tile: int | Literal["auto"],
    device: torch.device,
    count: int,
    stored: float,
) -> Cut | None:
    """How to translate ``count`` pictures that take ``needs`` each; None: whole, all at once.

    ``stored``: bytes that one takes before, after and while it is written. Raises NoRoomError if
    features must be kept on the disk, and it has no room for them.
    """
    at_hand = TO_USE * memory_at_hand(device)
    if tile == "auto" and count * needs.whole <= at_hand:
        return None
    here = TO_USE * memory_at_hand(torch.device("cpu"))
    left = max(0.0, min(MOST_MEMORY - PROCESS, here) - stored)
    fits = needs.kept <= left / 2
    if device.type == "cpu":
        at_hand = left - (needs.kept if fits else 0)
    rows = tile if tile != "auto" else int(min(MOST_ROWS, at_hand / needs.room))
    if not fits:
        check_room(needs.kept)
    return Cut(
        max(16, rows) // 4 * 4,
        in_memory if fits else in_file,
        needs.work,
    )
