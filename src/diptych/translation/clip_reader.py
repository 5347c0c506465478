"""Video files in: upright frames with their times, and the sound beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.data.alpha import on_background
from diptych.data.pixels import Pixels
from diptych.errors import DiptychError
from diptych.translation.clip_times import Times
from diptych.words import how_to_install

if TYPE_CHECKING:
    import av
    from av.packet import Packet

HD = 720  # rows: from here on, colours of files that do not say which are those of BT.709
UNKNOWN_COLOURS = 2
CLOCK_LEAPS = 0x200  # FFmpeg's mark of formats for broadcasts (AVFMT_TS_DISCONT)
SCALING = 0x4 | 0x2000 | 0x40000  # bicubic, full chroma, accurate rounding: else colours get darker


@dataclass(frozen=True)
class Frame:
    """One upright picture, uint8 ``(H, W, 3)``, and when it is shown."""

    picture: Pixels
    pts: int  # in units of the file's time base
    duration: int  # in the same
    seconds: float


class Clip:
    """A video file to read. Raises DiptychError if it is none, or PyAV is missing.

    ``background`` shows through where its pictures are transparent.
    """

    def __init__(self, path: Path, background: str = "white") -> None:
        self.path = path
        self.background = background
        self.av = load_av()
        self.damaged = 0  # packets that could not be decoded, or not whole
        self.read = 0  # frames so far
        try:
            self.container = self.av.open(os.path.abspath(path))  # (12:30.mp4 is no protocol 12)
        except (OSError, ValueError, self.av.error.FFmpegError) as error:
            raise DiptychError(f"cannot read {path}: {reason(error)}") from error
        video = self.container.streams.best("video")  # (not the cover of a song, if there is more)
        if video is None:
            self.container.close()
            raise DiptychError(f"{path} holds no video")
        self.video = video
        self.video.thread_type = "AUTO"
        tracks = self.container.streams.audio
        self.sound = [track for track in tracks if track.codec_context is not None]
        self.tracks_left_out = len(tracks) - len(self.sound)  # of kinds that FFmpeg does not know
        self.time_base = self.video.time_base or Fraction(1, 1000)
        self.rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        self.pixel_aspect = self.video.sample_aspect_ratio  # width by height, of upright pictures
        leaps = bool(int(self.container.format.flags) & CLOCK_LEAPS)
        self.times = Times(self._start(), leaps)

    def frames_expected(self) -> int | None:
        """How many frames the file says it has, or their duration and rate let expect."""
        seconds: Fraction | None = None
        if self.video.frames:
            return int(self.video.frames)
        if self.video.duration is not None:
            seconds = self.video.duration * self.time_base
        elif self.container.duration is not None:
            seconds = Fraction(self.container.duration, 1_000_000)
        return None if seconds is None else int(seconds * self.rate)

    def parts(self) -> Iterator[Frame | Packet[Any]]:
        """Frames, and packets of sound as they are, in the order of the file."""
        last: int | None = None
        step = max(1, round(1 / (self.rate * self.time_base)))
        for packet in self._packets():
            later = self.times.move(packet)
            if packet.stream.type == "audio":
                if packet.dts is not None and later:  # (no file takes what goes back)
                    yield packet
                continue
            for frame in self._decoded(packet):
                pts = frame.pts
                # Some files do not say when, or say the same twice: then after the one before.
                if pts is None or (last is not None and pts <= last):
                    pts = 0 if last is None else last + (step if pts is None else 1)
                last = pts
                if self.read == 0 and self.pixel_aspect and frame.rotation % 180:
                    self.pixel_aspect = 1 / self.pixel_aspect
                self.read += 1
                picture = upright(frame, self.background)
                yield Frame(picture, pts, frame.duration or step, float(pts * self.time_base))

    def remark(self) -> str | None:
        """What was wrong with the file, after all of it has been read."""
        if self.damaged:
            return f"{self.path} is damaged: {self.read} frames could be decoded, perhaps in part"
        if self.container.duration is not None and not self.times.started_anew:
            length = self.container.duration / 1e6
            if self.times.reached < 0.95 * length - 0.5:
                return (
                    f"{self.path} is cut short: it ends after {float(self.times.reached):.1f} of "
                    f"its {length:.1f} seconds"
                )
        if self.tracks_left_out:
            return f"{self.path} has sound of a kind that is not known here: it was left out"
        return None

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def _start(self) -> Fraction:
        """Seconds at which the file begins: recordings of broadcasts count from anywhere."""
        start = self.container.start_time
        return Fraction(max(0, start or 0), 1_000_000)

    def _packets(self) -> Iterator[Packet[Any]]:
        packets = self.container.demux([self.video, *self.sound])
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except (OSError, ValueError, self.av.error.FFmpegError):
                self.damaged += 1  # the rest cannot be found
                return

    def _decoded(self, packet: Packet[Any]) -> list[av.VideoFrame]:
        try:
            frames = list(packet.decode())
            self.damaged += sum(frame.is_corrupt for frame in frames)
            return frames
        except (OSError, ValueError, self.av.error.FFmpegError):
            self.damaged += 1
            return []


def upright(frame: av.VideoFrame, background: str) -> Pixels:
    """A decoded frame as uint8 RGB ``(H, W, 3)``, turned as the file asks players to turn it."""
    guess = "ITU709" if frame.colorspace == UNKNOWN_COLOURS and frame.height >= HD else None
    transparent = any(component.is_alpha for component in frame.format.components)
    picture: Pixels = frame.reformat(
        format="rgba" if transparent else "rgb24", src_colorspace=guess, interpolation=SCALING
    ).to_ndarray()
    if transparent:
        picture = on_background(picture, background)
    # Side data only where they are needed: in PyAV 18 those of a PNG with a colour profile end the
    # process later on, and kinds that it does not know (EXIF in a JPEG frame) are an error.
    if not frame.rotation:
        return picture
    try:
        sides: list[Any] = list(frame.side_data)  # (a mapping that yields its values)
    except ValueError:
        return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
    matrix = next(
        (np.frombuffer(side, np.int32) for side in sides if side.type.name == "DISPLAYMATRIX"), None
    )
    return picture if matrix is None else turned(picture, matrix)


def turned(picture: Pixels, matrix: np.ndarray[Any, Any]) -> Pixels:
    """Apply a display matrix: (x, y) -> (m0 x + m3 y, m1 x + m4 y), by quarter turns and flips."""
    right, down = (int(matrix[0]), int(matrix[4]))
    if abs(int(matrix[1])) > abs(right):  # x becomes y
        picture = picture.swapaxes(0, 1)
        right, down = int(matrix[3]), int(matrix[1])
    picture = picture[:, ::-1] if right < 0 else picture
    return np.ascontiguousarray(picture[::-1] if down < 0 else picture)


def load_av() -> Any:
    """PyAV. Raises DiptychError where it is not installed."""
    try:
        import av
        import av.logging
    except ImportError:
        raise DiptychError(f"videos need PyAV: {how_to_install('video')}") from None
    av.logging.set_level(av.logging.PANIC)  # (FFmpeg writes to the terminal about broken files)
    return av


def reason(error: Exception) -> str:
    """What FFmpeg or the system says, without numbers and names of files."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
