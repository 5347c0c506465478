"""Which file becomes which: what is translated, and where it goes."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.data.decode import SUFFIXES
from diptych.data.folder import find_pictures
from diptych.data.opening import is_animated
from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError, UsageError
from diptych.host.files import lies_in
from diptych.translation.clip_names import ENDINGS as CLIP_ENDINGS
from diptych.translation.clip_names import UNPLAYED, check_clip_name, clip_ending, is_clip
from diptych.translation.writing import PICTURE_ENDINGS, check_format, default_format, format_of

Existing = Literal["refuse", "replace", "skip"]  # what to do where a translation would lie


@dataclass(frozen=True)
class Job:
    """One picture or video to translate."""

    source: Path
    target: Path


def plan(inputs: Sequence[Path], out: Path, format_: str | None, target: PixelFormat) -> list[Job]:
    """What becomes what: in the folder ``out`` or, of one input, a file that is called so.

    ``format_``: of the pictures in a folder; None: the usual one for pictures such as ``target``.
    Raises as ``plan_folder`` and ``plan_file``, and UsageError for a format that cannot hold them.
    """
    ending = format_of(f".{format_}") if format_ else default_format(target)
    names_file = (is_clip(out) or out.suffix.lower() in PICTURE_ENDINGS) and not out.is_dir()
    if not names_file:
        check_format(ending, target)
        return plan_folder(inputs, out, ending)
    if format_ and not is_clip(out) and format_of(out.suffix) != ending:
        raise UsageError(f"{out} and --format {format_} disagree: leave one of them out")
    return plan_file(inputs, out, target)


def plan_folder(inputs: Sequence[Path], out: Path, ending: str) -> list[Job]:
    """Where each picture and video goes: folders keep their structure below ``out``.

    Of several folders each gets one of its name there. What is given twice goes there once. Raises
    DiptychError for an input that is missing, and UsageError where an output would lie in a folder
    of inputs, or ``out`` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder for the translations")
    pairs: list[tuple[Path, Path]] = []  # a source, and its place below ``out``
    tops = _names({given.resolve() for given in inputs if given.is_dir()})
    for given in inputs:
        if given.is_dir():
            if lies_in(out, given):
                raise UsageError(
                    f"the translations would lie among the pictures of {given}: choose another "
                    "output folder"
                )
            found = find_pictures(given, SUFFIXES | CLIP_ENDINGS)
            top = tops[given.resolve()]
            pairs += [(path, top / path.relative_to(given)) for path in found]
        elif given.exists():
            pairs.append((given, Path(given.name)))
        else:
            address = str(given).startswith(("http:/", "https:/"))
            advice = "download it first" if address else "check the name"
            raise DiptychError(f"there is no picture {given}: {advice}")
    if len(inputs) > 1:  # (the same may be called by several names, links too)
        once = {(os.path.realpath(source), below): (source, below) for source, below in pairs}
        pairs = list(once.values())
    wishes = [
        (source, below, below.with_suffix(clip_ending(source) if is_clip(source) else f".{ending}"))
        for source, below in pairs
    ]
    # (A picture x.jpg may lie beside a folder that is called x.png.)
    taken = {_as_one(out / folder) for _, below in pairs for folder in below.parents}
    asked = Counter(name for name, _ in {(_as_one(wish), below) for _, below, wish in wishes})
    jobs = []
    numbers: dict[str, int] = {}  # that the next of the same name may have
    for source, below, wish in wishes:
        target, suffix = out / wish, wish.suffix
        # horse.jpg beside horse.png: both, since another time one may be there alone
        if _as_one(target) in taken or asked[_as_one(wish)] > 1:
            target = out / below.with_name(f"{below.name.replace('.', '-')}{suffix}")
        wanted = _as_one(target)
        while _as_one(target) in taken:  # the same name from two folders
            numbers[wanted] = number = numbers.get(wanted, 1) + 1
            target = out / below.with_name(f"{below.stem}-{number}{suffix}")
        taken.add(_as_one(target))
        jobs.append(Job(source, target))
    return jobs


def _names(folders: Set[Path]) -> dict[Path, Path]:
    """What folders are called: a single one nothing, of several as much as tells them apart."""
    parts, most = int(len(folders) > 1), max((len(one.parts) for one in folders), default=0)
    # (Those of two drives may be told apart by nothing else: then their files are numbered.)
    while len({one.parts[1:][-parts:] for one in folders}) < len(folders) and parts < most:
        parts += 1
    return {folder: Path(*folder.parts[1:][-parts:] if parts else ()) for folder in folders}


def plan_file(inputs: Sequence[Path], out: Path, target: PixelFormat) -> list[Job]:
    """One picture or video to a file of a given name.

    Raises as ``plan_folder``, and UsageError where such a file cannot hold it.
    """
    if len(inputs) > 1 or inputs[0].is_dir():
        what = "video" if is_clip(out) else "picture"
        advice = "" if what == "picture" else " (single pictures are not made into a video)"
        raise UsageError(f"{out} is one {what}: for several inputs name a folder{advice}")
    if not inputs[0].exists():
        raise DiptychError(f"there is no file {inputs[0]}: check the name")
    if is_clip(out) and inputs[0].suffix.lower() in UNPLAYED:
        raise UsageError(f"FFmpeg plays no WebP and AVIF: make a GIF or a video of {inputs[0]}")
    if is_clip(out) or is_clip(inputs[0]):
        check_clip_name(out)
        if _is_still(inputs[0]):
            still = out.with_suffix(".png")
            raise UsageError(f"{inputs[0]} is one picture, no video: name {still}, for instance")
    else:
        check_format(format_of(out.suffix), target)
    return [Job(inputs[0], out)]


def _is_still(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_ENDINGS and not is_animated(path)


def left_to_do(jobs: Sequence[Job], existing: Existing) -> list[Job]:
    """The jobs without those to skip, whose files exist.

    Raises UsageError where an output would overwrite an input or, unless it is to be replaced, any
    other file; DiptychError where it cannot be looked for.
    """
    sources, left = set(), []
    for job in jobs:
        with suppress(OSError):  # what is wrong with it shows when it is read
            sources.add(_identity(job.source))
    for job in jobs:
        try:
            there = _identity(job.target)
        except (FileNotFoundError, NotADirectoryError):
            left.append(job)
            continue
        except OSError as error:
            raise DiptychError(f"cannot write {job.target}: {error.strerror}") from error
        if not job.target.is_file():  # (a named pipe, say)
            kind = "a folder" if job.target.is_dir() else "no file"
            raise UsageError(f"{job.target} is {kind}: choose another output folder")
        if there in sources:
            raise UsageError(f"{job.target} is one of the inputs: choose another output folder")
        if existing == "refuse":
            raise UsageError(
                f"{job.target} exists: choose another output folder, --overwrite or --skip-existing"
            )
        if existing == "replace" or job.target.stat().st_size == 0:  # (as a power cut leaves them)
            left.append(job)
    return left


def _as_one(path: Path) -> str:
    """The same for names that some disks take for one: other capitals, or é as two letters."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _identity(path: Path) -> tuple[int, int]:
    """The same for all names of one file: links of both kinds, and other capitals on some disks."""
    status = path.stat()
    return status.st_dev, status.st_ino
