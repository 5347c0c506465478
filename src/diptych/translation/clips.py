"""Videos in, translated videos out."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from diptych.data.pixels import Pixels, with_channels
from diptych.errors import DiptychError, UsageError
from diptych.model_file import Side
from diptych.translation.clip_files import Clip, ClipFile, Frame
from diptych.translation.files import PIXELS_AT_ONCE, Job
from diptych.translation.smooth import Past, from_afar, is_cut, smoothed
from diptych.translation.translator import Translator, scaled


@dataclass(frozen=True)
class ClipOutcome:
    """What became of a video."""

    job: Job
    frames: int
    seconds: float  # at which the last one is shown
    remark: str | None  # what was wrong with the source
    stopped: bool


def check_clip_model(translator: Translator, to: Side) -> None:
    """Raise UsageError if the model is not for what videos hold: 8-bit colour or grey."""
    for pixel_format in translator.formats(to):
        if pixel_format.dtype != "uint8" or pixel_format.channels not in (1, 3):
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
    on_frames: Callable[[int, int | None], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ClipOutcome:
    """Translate a video frame by frame: same times, upright, sound copied.

    ``half_life``, in seconds: smooth the statistics of norm layers over time; 0: every frame by
    itself. ``on_frames`` is told how many frames are done and how many are expected. When
    ``stop()`` is true the file is ended there, and plays. It is written aside and renamed.
    Raises DiptychError if the source holds no frame or the target cannot be written.
    """
    check_clip_model(translator, to)
    aside = job.target.with_name(f".{job.target.stem}.{os.getpid()}.partial{job.target.suffix}")
    with closing(Clip(job.source)) as clip:
        expected = clip.frames_expected()
        steady = Steady(translator, to, half_life) if half_life else None
        writer: ClipFile | None = None
        waiting: list[Frame] = []
        sound: list[Any] = []  # that comes before the first frame
        done, seconds, stopped = 0, 0.0, False

        def translate_waiting() -> None:
            nonlocal writer, done, seconds
            pictures = [prepared(frame.picture, translator, to, size) for frame in waiting]
            if steady is not None:
                fakes = steady.arrays(pictures, waiting)
            else:
                fakes = translator.arrays(pictures, to)
            if writer is None:
                job.target.parent.mkdir(parents=True, exist_ok=True)
                writer = ClipFile(aside, clip, fakes[0].shape[1], fakes[0].shape[0])
                for packet in sound:
                    writer.copy(packet)
            for frame, fake in zip(waiting, fakes, strict=True):
                writer.write(fake, frame.pts)
            done, seconds = done + len(waiting), waiting[-1].seconds
            waiting.clear()
            if on_frames is not None:
                on_frames(done, expected)

        try:
            for part in clip.parts():
                if not isinstance(part, Frame):
                    sound.append(part) if writer is None else writer.copy(part)
                    continue
                if waiting and waiting[0].picture.shape != part.picture.shape:
                    translate_waiting()
                waiting.append(part)
                pixels = part.picture[..., 0].size
                if len(waiting) >= max(1, min(batch, PIXELS_AT_ONCE // pixels)):
                    translate_waiting()
                if stop():
                    stopped = True
                    break
            if waiting and not stopped:
                translate_waiting()
            if writer is not None:
                writer.close()
                os.replace(aside, job.target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        if writer is None and not stopped:
            raise DiptychError(f"{job.source} holds no frame that can be decoded")
        return ClipOutcome(job, done, seconds, remark(clip, expected, stopped), stopped)


def prepared(picture: Pixels, translator: Translator, to: Side, size: int | None) -> Pixels:
    """A frame as the model takes it."""
    source, _ = translator.formats(to)
    return scaled(with_channels(picture, source.channels), size)


def remark(clip: Clip, expected: int | None, stopped: bool) -> str | None:
    """What a person should know about the source."""
    if clip.damaged:
        return f"{clip.path} is damaged: {clip.read} frames could be decoded"
    if not stopped and clip.video.frames and expected is not None and clip.read < expected:
        return f"{clip.path} is cut short: {clip.read} of its {expected} frames are there"
    return None


class Steady:
    """A translator for the frames of one video, whose statistics are smoothed over time."""

    def __init__(self, translator: Translator, to: Side, half_life: float) -> None:
        self.past = Past()
        self.half_life = half_life
        self.to = to
        self.plain = translator
        pair = translator.pair
        if to == "b":
            pair = replace(pair, G_ab=smoothed(pair.towards(to), self.past))
        else:
            pair = replace(pair, G_ba=smoothed(pair.towards(to), self.past))
        self.translator = Translator(pair, translator.device, tile="off")
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
            seen = from_afar(frame.picture)
            share = 0.0
            if self.last is not None and not is_cut(self.last[1], seen):
                share = 0.5 ** ((frame.seconds - self.last[0]) / self.half_life)
            shares.append(share)
            self.last = frame.seconds, seen
        self.past.shares = shares
        return self.translator.arrays(pictures, self.to)
