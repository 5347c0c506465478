"""The two folders, opened: what is trained on, what is held out, how pixels are stored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np

from diptych.config import Config, DataConfig, DomainConfig, Range
from diptych.data.alpha import parse_background
from diptych.data.cache import Entry, PictureCache, Skipped, contents
from diptych.data.cache_folder import open_cache
from diptych.data.folder import find_pictures
from diptych.data.pixels import DType, PixelFormat
from diptych.errors import DiptychError, UsageError, unheard
from diptych.host.files import lies_in
from diptych.sides import Side
from diptych.words import counted

MOST_HELD_OUT = 200  # pictures of each domain


@dataclass(frozen=True)
class Folders:
    """Where pictures are. Without a test folder a share of the training pictures is held out."""

    a: Path
    b: Path
    test_a: Path | None = None
    test_b: Path | None = None

    def trained(self, side: Side) -> Path:
        """Where those of a domain are that are trained on."""
        return self.a if side == "a" else self.b

    @property
    def all(self) -> tuple[Path, ...]:
        """Those that there are."""
        return tuple(filter(None, (self.a, self.b, self.test_a, self.test_b)))

    def absolute(self) -> Folders:
        """The same, wherever a program goes."""
        return Folders(*(path and path.absolute() for path in vars(self).values()))

    @property
    def tested(self) -> bool:
        """Whether there is a test folder."""
        return self.test_a is not None or self.test_b is not None


@dataclass(frozen=True)
class Domain:
    """One domain's pictures."""

    folder: Path
    cache: PictureCache
    train: tuple[int, ...]  # indices into the cache
    heldout: tuple[Path, ...]  # files that are never trained on
    pixel_format: PixelFormat
    heldout_contents: tuple[str, ...] = ()  # sha256 of the held-out files
    test_folder: Path | None = None
    test_skipped: tuple[Skipped, ...] = ()  # of those in it

    def trained(self) -> dict[str, str]:
        """The sha256 of each file that is trained on, by its path below ``folder``; in order."""
        entries = self.cache.entries
        return {entries[i].name: entries[i].content for i in self.train}

    def held_back(self) -> dict[str, str]:
        """The same of those in ``folder`` that are held out: none where there is a test folder."""
        if self.test_folder is not None:
            return {}
        trained = self.trained()
        return {one.name: one.content for one in self.cache.entries if one.name not in trained}

    def heldout_among(self, contents: Iterable[str]) -> list[Path]:
        """Those of the held-out pictures that are files of these contents."""
        known = set(contents)
        held = zip(self.heldout, self.heldout_contents, strict=True)
        return [path for path, content in held if content in known]

    @cached_property
    def learned_here(self) -> tuple[Path, ...]:
        """Held-out pictures whose copies are trained on."""
        return tuple(self.heldout_among(self.trained().values()))

    def fingerprint(self) -> str:
        """Changes when a training picture is added, removed or altered, or its place in order."""
        return _digest(self.trained().values())

    def heldout_fingerprint(self) -> str:
        """The same of the held-out pictures, which decide what a score means."""
        return _digest(self.heldout_contents)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return self.cache.skipped


def _digest(contents: Iterable[str]) -> str:
    return hashlib.sha256("".join(contents).encode()).hexdigest()


def data_folders(root: Path) -> Folders:
    """The layout of the public data sets: trainA, trainB and perhaps testA, testB.

    Raises DiptychError if the folder, or one to train on, is missing.
    """
    if not root.is_dir():
        raise DiptychError(f"there is no folder {root}: check the name")
    missing = [name for name in ("trainA", "trainB") if not (root / name).is_dir()]
    if missing:
        raise DiptychError(f"{root} has no {' and no '.join(missing)}: --data needs both")
    test_a, test_b = (path if path.is_dir() else None for path in (root / "testA", root / "testB"))
    return Folders(root / "trainA", root / "trainB", test_a, test_b)


def open_domains(
    folders: Folders, config: Config, on_progress: Callable[[str, int, int], None] = unheard
) -> tuple[Domain, Domain]:
    """Scan, decode (once, into the cache) and split both folders.

    ``on_progress(name, done, total)`` is called while pictures are decoded. Raises DiptychError
    with one line for anything wrong with the folders.
    """
    check_request(folders, config)
    multiple = config.generator.size_multiple

    # All folders first: decoding one takes a while, and the name of another may be wrong.
    files = {folder: find_pictures(folder) for folder in folders.all}

    def decoded(name: str, folder: Path, reading: DomainConfig) -> PictureCache:
        progress = partial(on_progress, name)
        return open_cache(folder, files[folder], reading, config.data, multiple, progress)

    def opened(name: str, folder: Path, test: Path | None, reading: DomainConfig) -> Domain:
        cache = decoded(name, folder, reading)
        tests = (test, decoded(f"test {name}", test, reading)) if test is not None else None
        return make_domain(folder, cache, tests, reading, config.data)

    a = opened("A", folders.a, folders.test_a, config.a)
    b = opened("B", folders.b, folders.test_b, config.b)
    check_different(a, b)
    return a, b


def check_request(folders: Folders, config: Config) -> None:
    """Raise UsageError for what is wrong before any picture is read."""
    parse_background(config.data.background)
    if os.path.realpath(folders.a) == os.path.realpath(folders.b):  # (links may form a loop)
        raise UsageError(f"A and B are the same folder {folders.a}: give two different ones")
    for inner, outer in ((folders.a, folders.b), (folders.b, folders.a)):
        if lies_in(inner, outer):
            raise UsageError(
                f"{inner} lies in {outer}, which is searched through to the bottom: give two "
                "folders side by side"
            )


def check_different(a: Domain, b: Domain) -> None:
    """Raise UsageError if A and B hold the same pictures."""
    if contents(a.cache) == contents(b.cache):
        raise UsageError(
            f"A and B hold the same pictures: {a.folder} and {b.folder}: give two different ones"
        )


def make_domain(
    folder: Path,
    cache: PictureCache,
    tests: tuple[Path, PictureCache] | None,
    reading: DomainConfig,
    data: DataConfig,
) -> Domain:
    """Decide what is trained on and what is held out: ``tests``, or else a share of the cache.

    Only entries are looked at, not pixels. Raises DiptychError where pictures are damaged and may
    not be, or too few, and where tests are of another kind.
    """
    _check_skipped(folder, cache, data)
    if tests is not None:
        _check_skipped(*tests, data)
        _check_alike(folder, cache, *tests)
        train = tuple(range(len(cache)))
        place, held_entries = tests[0], list(tests[1].entries)
    else:
        train, held = split(cache, data.holdout)
        place, held_entries = folder, [cache.entries[i] for i in held]
        if not train or not held:
            raise DiptychError(
                f"{folder} needs at least two different pictures: one to learn from, one held out"
            )
    return Domain(
        folder,
        cache,
        train,
        heldout=tuple(place / entry.name for entry in held_entries),
        heldout_contents=tuple(entry.content for entry in held_entries),
        pixel_format=_pixel_format(cache, train, reading),
        test_folder=tests[0] if tests is not None else None,
        test_skipped=tests[1].skipped if tests is not None else (),
    )


def _check_skipped(folder: Path, cache: PictureCache, data: DataConfig) -> None:
    """Raise DiptychError where pictures are damaged and may not be."""
    if data.strict and cache.skipped:
        first = cache.skipped[0]
        raise DiptychError(
            f"cannot use {counted(len(cache.skipped), 'picture')} in {folder} (--strict); "
            f"the first: {first.name}: {first.reason}"
        )


def _check_alike(folder: Path, cache: PictureCache, test: Path, tests: PictureCache) -> None:
    """Raise DiptychError unless test pictures are of the kind that is trained on."""
    kinds = [f"{of.dtype} with {of.entries[0].shape[2]} channels" for of in (tests, cache)]
    if kinds[0] != kinds[1]:
        raise DiptychError(
            f"the pictures in {test} are {kinds[0]}, those in {folder} {kinds[1]}: convert them"
        )


def split(cache: PictureCache, share: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices to train on and to hold out: the files with the smallest content hashes.

    The choice depends on the pictures alone, so it survives renaming and reordering; copies of a
    held-out picture are held out with it. At least one is held out and, of two or more, trained on.
    """
    distinct = sorted(contents(cache))
    count = max(1, min(MOST_HELD_OUT, round(share * len(distinct)), len(distinct) - 1))
    chosen = set(distinct[:count])
    held = tuple(i for i, entry in enumerate(cache.entries) if entry.content in chosen)
    train = tuple(i for i, entry in enumerate(cache.entries) if entry.content not in chosen)
    return train, held


def _pixel_format(
    cache: PictureCache, train: tuple[int, ...], reading: DomainConfig
) -> PixelFormat:
    """uint8 spans 0 to 255; other depths span what the training pictures hold, unless given."""
    dtype = cast(DType, str(cache.dtype))
    channels = cache.entries[0].shape[2]
    if dtype == "uint8":
        ranges = reading.ranges or ((0.0, 255.0),)
    else:
        ranges = reading.ranges or _measured([cache.entries[i] for i in train])
    if len(ranges) not in (1, channels) or (len(ranges) > 1 and dtype == "uint8"):
        raise DiptychError(
            f"{len(ranges)} ranges are given for pictures with {counted(channels, 'channel')} of "
            f"{dtype}: give one for all" + ("" if dtype == "uint8" else ", or one for each channel")
        )
    if len(set(ranges)) == 1:
        return PixelFormat(channels, dtype, *ranges[0])
    lows, highs = zip(*ranges, strict=True)
    return PixelFormat(channels, dtype, lows, highs)


def _measured(entries: Sequence[Entry]) -> tuple[Range, ...]:
    """What each channel's values span; a channel of one value is where it is."""
    lows = np.min([entry.lows for entry in entries], axis=0).tolist()
    highs = np.max([entry.highs for entry in entries], axis=0).tolist()
    if lows == highs:
        same = f"the one value {lows[0]:g}" if len(set(lows)) == 1 else "one value in each channel"
        raise DiptychError(f"all pictures hold {same}: give the range, as --range-a 0,65535")
    pairs = zip(lows, highs, strict=True)
    return tuple((low, high if low < high else low + _step(low)) for low, high in pairs)


def _step(value: float) -> float:
    """1, or what float32 can still add to a large value."""
    return max(1.0, abs(value) * 2**-20)
