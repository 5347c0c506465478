"""Held-out pictures, which a training does not learn from, read for scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diptych.config import Config, DomainConfig
from diptych.data.geometry import Resize
from diptych.data.looking import read_for_looking
from diptych.data.pixels import PixelFormat, Pixels, preview, resize
from diptych.evaluation.features import Described, FeatureNet


@dataclass(frozen=True)
class Heldout:
    """Held-out pictures of a domain at the training size."""

    paths: Sequence[Path]
    pictures: Sequence[Pixels]
    pixel_format: PixelFormat
    unread: Sequence[Path] = ()  # that should be among them, and are missing or damaged

    def tensors(self, device: torch.device) -> Iterator[Tensor]:
        """One ``(1, C, H, W)`` tensor in [-1, 1] after the other: sizes may differ."""
        for picture in self.pictures:
            yield self.pixel_format.to_tensor(picture[None]).to(device)

    def digest(self) -> str:
        """The same for the same pictures, whatever their names and wherever they lie."""
        read_as = repr(self.pixel_format).encode()
        each = (
            hashlib.sha256(read_as + repr(p.shape).encode() + p.tobytes()) for p in self.pictures
        )
        return hashlib.sha256(b"".join(sorted(one.digest() for one in each))).hexdigest()


def read_heldout(
    paths: Iterable[Path],
    reading: DomainConfig,
    pixel_format: PixelFormat,
    config: Config,
    resize: Resize = resize,
) -> Heldout:
    """Those of the held-out pictures that can be read; perhaps none."""
    wanted = list(paths)
    found = dict(read_for_looking(wanted, reading, pixel_format, config, resize=resize))
    unread = [path for path in wanted if path not in found]
    return Heldout(list(found), list(found.values()), pixel_format, unread)


def describe(heldout: Heldout, net: FeatureNet) -> Described:
    """What ``net`` makes of the pictures, as a person would see them."""
    return net([preview(picture, heldout.pixel_format) for picture in heldout.pictures])
