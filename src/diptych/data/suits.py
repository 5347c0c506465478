"""Whether pictures suit a training: what is refused, and what is doubted."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from diptych.config import Config
from diptych.data.decode import is_deeper, read_picture, read_with_missing, reading_of
from diptych.data.domain import Domain
from diptych.data.metadata import Metadata, metadata_of
from diptych.data.opening import DamagedPictureError
from diptych.data.pixels import DIM, PixelFormat
from diptych.data.tiff import has_more_pages
from diptych.errors import UsageError
from diptych.words import counted

FEW = 20  # pictures to learn from
FEWEST_SCORED = 8  # held-out ones, for distances between sets: its halves need 3 neighbours each
LOOKED_AT = 20  # files, for what their headers say
MANY_CHANNELS = 20  # more than instruments have, but for hyperspectral ones
FAR_BEYOND = 4  # ranges: a few pictures, or what stands out in them, should not need more
MOST_CUT_OFF = 0.1  # of all values: bone, metal, a lamp may well be


DoubtKind = Literal[
    "few", "few held out", "deep", "nearly black", "beyond the range", "wide range", "no data",
    "other channels", "many channels", "several pages",
]  # fmt: skip


@dataclass(frozen=True)
class Doubt:
    """What training does not refuse, and still would not do well with."""

    kind: DoubtKind
    about: str
    advice: str


def doubts(domain: Domain) -> list[Doubt]:
    """Whether there are few pictures, or dark ones, as where 12 of 16 bits are used.

    A range that is given, or that of the model to go on from, may be of far other values.
    """
    found = []
    if len(domain.train) < FEW:
        about = f"{counted(len(domain.train), 'picture')} to learn from"
        found.append(
            Doubt("few", about, "that is very little to learn from: a few hundred are usual")
        )
    if len(domain.heldout) < FEWEST_SCORED:
        about = f"{counted(len(domain.heldout), 'picture')} held out"
        advice = (
            f"scores need at least {FEWEST_SCORED}: give test folders, or a larger --set "
            "data.holdout"
        )
        found.append(Doubt("few held out", about, advice))
    reached = max(entry.high for entry in domain.cache.entries)
    stored = domain.pixel_format
    low, high = stored.lowest, stored.highest
    if reached < low + (high - low) * DIM / 255:
        advice = "pictures of 16 bits keep all their values with --depth native"
        if (stored.low, stored.high) != (0, 255):
            advice = f"the range is {low:g},{high:g}: give one that fits them"
        about = f"values reach only {reached:g} of {high:g}"
        found.append(Doubt("nearly black", about, advice))
    elif stored.dtype == "uint8" and is_deeper(_first(domain)):
        about = "its pictures have more than 8 bits, of which the upper 8 are read"
        found.append(Doubt("deep", about, "--depth native reads all"))
    if (share := cut_off(domain)) > MOST_CUT_OFF:
        least = min(entry.low for entry in domain.cache.entries)
        about = (
            f"{share:.0%} of the values lie beyond the range {low:g},{high:g}, and are cut off "
            f"(they reach from {least:g} to {reached:g})"
        )
        found.append(Doubt("beyond the range", about, "give one that fits, unless that is meant"))
    elif not any(doubt.kind == "nearly black" for doubt in found):
        found += _far_values(domain)
    return [*found, *_by_files(domain)]


def cut_off(domain: Domain) -> float:
    """The share of values beyond the range, 0 to 1, in pictures from all over the domain."""
    stored = domain.pixel_format
    if stored.holds_all:
        return 0.0
    shares = []
    for index in domain.train[:: max(1, len(domain.train) // LOOKED_AT)]:
        path = domain.folder / domain.cache.entries[index].name
        with suppress(DamagedPictureError):  # (it was there when it was decoded)
            picture = read_picture(path, reading_of(stored))
            shares.append(float(((picture < stored.low) | (picture > stored.high)).mean()))
    return sum(shares) / max(1, len(shares))


def _first(domain: Domain) -> Path:
    """The first file that is learned from."""
    return domain.folder / domain.cache.entries[domain.train[0]].name


def are_grey(domain: Domain) -> bool:
    """Whether the first pictures that are read as colours have none."""
    pictures = [domain.cache[index] for index in domain.train[:LOOKED_AT]]
    return all(
        picture.shape[2] == 3 and (picture == picture[..., :1]).all() for picture in pictures
    )


def _far_values(domain: Domain) -> Iterable[Doubt]:
    """Whether the range is that of a few pictures, or of those that a model was trained on."""
    stored = domain.pixel_format
    if stored.dtype == "uint8" and (stored.low, stored.high) == (0, 255):
        return
    entries = domain.cache.entries
    lows = np.median([one.lows for one in entries], axis=0)
    highs = np.median([one.highs for one in entries], axis=0)
    spans = np.subtract(stored.high, stored.low)
    wide = (spans > FAR_BEYOND * (highs - lows)) & (highs > lows)
    if wide.any():
        first = int(wide.argmax())
        channel = f" in channel {first + 1}" if len(wide) > 1 else ""
        yield Doubt(
            "wide range",
            f"values usually lie in {lows[first]:g} to {highs[first]:g}{channel}, of a range of "
            f"{stored.span()}",
            "what is usual is hardly told apart: give --range-a or --range-b low,high",
        )


def _by_files(domain: Domain) -> Iterable[Doubt]:
    """What the first files hold and say that is not learned, or not as it is meant."""
    read = domain.pixel_format.channels
    if read > MANY_CHANNELS:
        about = f"each picture is read as having {read} channels"
        yield Doubt("many channels", about, "cut volumes into slices, a file each")
    for index in domain.train[:LOOKED_AT]:
        entry = domain.cache.entries[index]
        path = domain.folder / entry.name
        metadata, found = metadata_of(path), list[Doubt]()
        if metadata.channels not in (0, read) and (metadata.channels, read) != (1, 3):
            last = ": the last one is taken for transparency" if metadata.transparent else ""
            about = f"{entry.name} has {counted(metadata.channels, 'channel')}, and {read} are read"
            advice = f"--depth native --channels {metadata.channels} reads all{last}"
            found.append(Doubt("other channels", about, advice))
        if share := _unknown(path, metadata, domain.pixel_format):
            about = f"{entry.name} has no data in {share:.0%} of its pixels"
            advice = "they are filled by what is next to them: cut off what is large"
            found.append(Doubt("no data", about, advice))
        if has_more_pages(path):
            about = f"{entry.name} has several pages, of which the first is read"
            found.append(Doubt("several pages", about, "save those to learn from as files"))
        yield from found
        if found:  # (the others will be like it)
            return


def _unknown(path: Path, metadata: Metadata, stored: PixelFormat) -> float:
    """The share of a picture that had to be filled, 0 to 1."""
    if metadata.no_data is None and stored.dtype != "float32":
        return 0.0
    try:
        _, missing = read_with_missing(path, reading_of(stored), "white")
    except DamagedPictureError:  # it was there when it was decoded
        return 0.0
    return 0.0 if missing is None else missing.share


def check_shapes(config: Config, a: Domain, b: Domain) -> None:
    """Without a crop pictures keep their shapes: large enough, and in a batch all the same.

    CUT compares A and B by one encoder, so they need as many channels. Raises UsageError where
    pictures do not suit the method, the networks or the batch.
    """
    channels_a, channels_b = a.pixel_format.channels, b.pixel_format.channels
    if config.method != "cyclegan" and channels_a != channels_b:
        raise UsageError(
            f"the method {config.method} needs as many channels in A as in B, and there are "
            f"{channels_a} and {channels_b}: use --channels, or the method cyclegan"
        )
    if config.data.one_size:
        return
    for domain in (a, b):
        shapes = {domain.cache.entries[i].shape for i in domain.train}
        smallest = min(min(shape[:2]) for shape in shapes)
        if smallest < config.smallest_size():
            raise UsageError(
                f"a picture in {domain.folder} is only {smallest} px wide or high, and these "
                f"networks need {config.smallest_size()}: use another preprocess, or fewer "
                "discriminator.layers"
            )
        if len(shapes) > 1 and config.training.batch > 1:
            raise UsageError(
                f"the pictures in {domain.folder} differ in size: use --batch 1 with "
                "preprocess none, or another preprocess"
            )
