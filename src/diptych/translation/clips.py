"""Videos in, translated videos out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.data.opening import TooLargeError
from diptych.data.pixels import Pixels, with_channels
from diptych.errors import DiptychError, UsageError, unheard
from diptych.host.files import explain_os_errors, make_folder, sync_file
from diptych.host.memory import freed_memory_kept
from diptych.sides import Side
from diptych.translation.at_once import at_once
from diptych.translation.clip_reader import Clip, Frame
from diptych.translation.clip_writer import ClipFile
from diptych.translation.jobs import Job
from diptych.translation.scaling import scaled, scaled_shape
from diptych.translation.smooth import Past, is_cut, thumbnail
from diptych.translation.translator import Translator
from diptych.translation.writing import written_aside

if TYPE_CHECKING:
    from av.packet import Packet

MOST_OF_A_STEM = 220  # bytes: disks take 255 of a name
SOUND_AT_ONCE = 500  # packets that wait for a frame, where there are few frames


@dataclass(frozen=True)
class ClipOutcome:
    """What became of a video."""

    target: Path  # what was written
    frames: int
    seconds: float  # at which the last one is shown
    remark: str | None  # what was wrong with the source
    stopped: bool


def check_clip_model(translator: Translator, to: Side, half_life: float = 0.0) -> None:
    """Raise UsageError if the model is not for what videos hold, 8-bit colour or grey.

    Also if frames are to be smoothed, with ``half_life``, and always cut into strips.
    """
    if half_life and isinstance(translator.tile, int):
        raise UsageError("--smooth takes frames whole: go without --tile, or without --smooth")
    for pixel_format in translator.formats(to):
        if not pixel_format.is_image:
            raise UsageError(
                f"videos have 3 channels of 8 bits; this model is for {pixel_format.describe()}"
            )


def translate_clip(
    translator: Translator,
    job: Job,
    to: Side,
    size: int | None = None,
    batch: int = 8,
    half_life: float = 0.0,
    on_frames: Callable[[int, int | None], None] = unheard,
    stop: Callable[[], bool] = lambda: False,
) -> ClipOutcome:
    """Translate a video frame by frame: same times, upright, sound copied.

    ``half_life``, in seconds: smooth the statistics of norm layers over time; 0: every frame by
    itself. ``on_frames`` is told how many frames are done and how many are expected. When
    ``stop()`` is true the file is ended there, and plays: the first part of a video, under a name
    that says so. It is written aside and renamed. Raises DiptychError if the source holds no
    frame or the target cannot be written.
    """

    def most(shape: tuple[int, ...]) -> int:
        return at_once(translator, scaled_shape(shape[0], shape[1], size), batch)

    check_clip_model(translator, to, half_life)
    steady = Steady(translator, to, half_life) if half_life else None
    writer: ClipFile | None = None
    done, seconds, stopped = 0, 0.0, False
    reading = Clip(job.source, translator.info.background)
    with (
        freed_memory_kept(translator.device), closing(reading) as clip,
        written_aside(job.target) as aside,
    ):  # fmt: skip
        for frames, sound in in_batches(clip.parts(), most):
            pictures = [prepared(frame.picture, translator, to, size) for frame in frames]
            if not frames:
                fakes = []
            elif steady is not None:
                fakes = steady.arrays(pictures, frames)
            else:
                fakes = translator.arrays(pictures, to)
            if writer is None:
                make_folder(job.target.parent)
                with explain_os_errors(f"write {job.target}"):
                    aside.path.touch()  # (FFmpeg's own reasons say less)
                height, width = fakes[0].shape[:2]
                writer = ClipFile(aside.path, job.target, clip, width, height)
            for frame, fake in zip(frames, fakes, strict=True):
                writer.write(fake, frame)
                done, seconds = done + 1, frame.seconds
            for packet in sound:
                writer.copy(packet)
            on_frames(done, clip.frames_expected())
            if stop():
                stopped = True
                aside.target = begun(job.target)
                break
        if writer is None:
            raise DiptychError(f"{job.source} holds no frame that can be decoded")
        writer.close()
        with explain_os_errors(f"write {job.target}"):
            sync_file(aside.path)
        remark = None if stopped else clip.remark()
    return ClipOutcome(aside.target, done, seconds, remark, stopped)


def begun(target: Path) -> Path:
    """A free name for the first part of a video that is broken off."""
    stem = target.stem.encode(errors="surrogateescape")[:MOST_OF_A_STEM].decode(errors="ignore")
    places = (
        target.with_name(f"{stem}-begun{'' if n == 1 else f'-{n}'}{target.suffix}")
        for n in itertools.count(1)
    )
    return next(place for place in places if not os.path.lexists(place))


def in_batches(
    parts: Iterable[Frame | Packet[Any]], most: Callable[[tuple[int, ...]], int]
) -> Iterator[tuple[list[Frame], list[Packet[Any]]]]:
    """Frames of one size and the sound among them, in batches of which the first has a frame.

    ``most``: how many frames of a shape a batch may hold.
    """
    frames: list[Frame] = []
    sound: list[Packet[Any]] = []
    seen = False
    for part in parts:
        if not isinstance(part, Frame):
            sound.append(part)
            full = seen and len(sound) >= SOUND_AT_ONCE
        else:
            if frames and frames[0].picture.shape != part.picture.shape:
                yield frames, sound
                frames, sound = [], []
            frames.append(part)
            seen = True
            full = len(frames) >= most(part.picture.shape)
        if full:
            yield frames, sound
            frames, sound = [], []
    if seen and (frames or sound):
        yield frames, sound


def prepared(picture: Pixels, translator: Translator, to: Side, size: int | None) -> Pixels:
    """A frame as the model takes it. Raises UsageError for a ``size`` that is too much."""
    source, _ = translator.formats(to)
    try:
        return scaled(with_channels(picture, source.channels), size)
    except TooLargeError as error:
        raise UsageError(f"cannot translate the frames: {error}") from error


class Steady:
    """A translator for the frames of one video, whose statistics are smoothed over time."""

    def __init__(self, translator: Translator, to: Side, half_life: float) -> None:
        self.past = Past()
        self.half_life = half_life
        self.to = to
        self.plain = translator
        self.translator = copy(translator)
        way = copy(translator.way_to[to])
        way.tile = "off"  # (so that frames are taken whole, by ``quick``)
        way.quick = way.steady(self.past)
        self.translator.way_to = {to: way}
        self.last: tuple[float, Pixels] | None = None  # the last frame's time, and it from afar

    def arrays(self, pictures: list[Pixels], frames: list[Frame]) -> list[Pixels]:
        """Translate frames that follow those of the call before."""
        if self.last is None and self.plain.is_too_large(pictures[0], self.to):
            raise DiptychError(
                "the frames are too large for this memory with --smooth: give a --size, or go "
                "without --smooth"
            )
        shares = []
        for frame in frames:
            seen = thumbnail(frame.picture)
            share = 0.0
            if self.last is not None and not is_cut(self.last[1], seen):
                share = 0.5 ** ((frame.seconds - self.last[0]) / self.half_life)
            shares.append(share)
            self.last = frame.seconds, seen
        self.past.shares = shares
        return self.translator.arrays(pictures, self.to)
