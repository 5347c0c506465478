"""Video files out: frames that keep their times, and the sound as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.data.pixels import Pixels
from diptych.errors import DiptychError
from diptych.translation.clip_names import WRITTEN
from diptych.translation.clip_reader import SCALING, Clip, Frame, reason

if TYPE_CHECKING:
    import av
    from av.packet import Packet

MP4 = {".mp4", ".m4v", ".mov"}


class ClipFile:
    """A video file to write; frames keep their times, sound is copied.

    It is written to ``path``, and called ``name`` in what is said about it. Raises DiptychError if
    it cannot be written, or cannot hold that sound.
    """

    def __init__(self, path: Path, name: Path, like: Clip, width: int, height: int) -> None:
        self.name = name
        self.av = like.av
        codec, options = WRITTEN[path.suffix.lower()]
        self.error = (OSError, ValueError, self.av.error.FFmpegError)
        try:
            self.container = self.av.open(os.path.abspath(path), "w")
            # Both codecs halve the resolution of colours: odd sizes get one more row or column.
            self.video = self.container.add_stream(
                codec, rate=like.rate, options=options,
                width=width + width % 2, height=height + height % 2, pix_fmt="yuv420p",
            )  # fmt: skip
        except self.error as error:
            raise self._cannot(error) from error
        context = self.video.codec_context
        self.last: av.VideoFrame | None = None  # not written yet
        self.until = 0  # when it is shown no more
        self.ahead: int | None = None  # how much earlier than it is shown the first is decoded
        context.time_base = self.time_base = like.time_base
        context.flags |= self.av.codec.context.Flags.frame_duration
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 to 235
        if like.pixel_aspect:
            context.sample_aspect_ratio = like.pixel_aspect
        try:
            self.sound = {
                stream.index: self.container.add_stream_from_template(stream)
                for stream in like.sound
            }
            self.container.start_encoding()
        except self.error as error:
            names = ", ".join(sorted({stream.codec_context.name for stream in like.sound}))
            self.container.close()
            if not names or isinstance(error, OSError):  # the disk's fault, not the sound's
                raise self._cannot(error) from error
            raise DiptychError(
                f"{path.suffix} cannot hold the sound of {like.path} ({names}): write an .mkv"
            ) from error

    def write(self, picture: Pixels, like: Frame) -> None:
        """Append a picture, uint8 ``(H, W, 1 or 3)``, to be shown when ``like`` is."""
        height, width = picture.shape[:2]
        rgb = np.broadcast_to(picture, (height, width, 3))
        even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(even), "rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=SCALING
        )
        frame.pts, frame.time_base = like.pts, self.time_base
        frame.duration = like.duration
        self.until = like.pts + like.duration
        self._write_last()
        self.last = frame

    def copy(self, packet: Packet[Any]) -> None:
        """Append sound."""
        packet.stream = self.sound[packet.stream.index]
        self._mux(lambda sound: [sound], packet)

    def close(self) -> None:
        """Write what is still under way, and what players need."""
        if self.last is not None:
            # A file ends with what is decoded last: a whole picture, for which none waits.
            self.last.pict_type = self.av.video.frame.PictureType.I
        self._write_last()
        try:
            left = self.video.encode(None)
            if self.name.suffix.lower() in MP4:
                self._reach_the_end(left)
            for packet in left:
                self.container.mux(packet)
            self.container.close()
        except self.error as error:
            raise self._cannot(error) from error

    def _write_last(self) -> None:
        if self.last is not None:
            self._mux(self.video.encode, self.last)

    def _reach_the_end(self, left: list[Any]) -> None:
        """MP4 is as long as until what is decoded last, which may be before what is shown last."""
        if left:
            ahead = self.ahead if self.ahead is not None else left[0].pts - left[0].dts
            left[-1].duration = max(left[-1].duration or 0, self.until - ahead - left[-1].dts)

    def _mux(self, encode: Any, what: Any) -> None:
        try:
            for packet in encode(what):
                if self.ahead is None and packet.stream is self.video:
                    self.ahead = packet.pts - packet.dts
                self.container.mux(packet)
        except self.error as error:
            raise self._cannot(error) from error

    def _cannot(self, error: Exception) -> DiptychError:
        return DiptychError(f"cannot write {self.name}: {reason(error)}")
