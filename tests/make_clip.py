"""Video files for the tests, made with PyAV: known pictures, known times, a tone beside them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]  # uint8 (H, W, 3)
SAMPLES = 1024  # of sound in a packet
SOUND_RATE = 16_000
EXACT = 4 | 0x2000 | 0x40000  # bicubic, with accurate rounding


def write_clip(
    path: Path,
    pictures: Sequence[Picture],
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    sound: str | None = "aac",
    rotation: int = 0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pixel_aspect: Fraction | None = None,
) -> None:
    """``pictures`` shown at ``times`` (in ``time_base``; default 0, 1, 2...), and a tone."""
    times = list(range(len(pictures))) if times is None else times
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        rate = 1 / time_base
        options = {"crf": "10", "g": "12"} if codec == "libx264" else {}
        video = out.add_stream(
            codec, rate=rate, options=options, width=width, height=height, pix_fmt=pix_fmt
        )
        video.codec_context.time_base = time_base
        if pixel_aspect:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            video.set_display_rotation(rotation)
        tone = out.add_stream(sound, rate=SOUND_RATE, layout="mono") if sound else None
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts, frame.time_base = time, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if tone is not None:
            length = float((times[-1] + 1) * time_base)
            for start in range(0, int(length * SOUND_RATE), SAMPLES):
                wave = np.sin(2 * np.pi * 440 * np.arange(start, start + SAMPLES) / SOUND_RATE)
                frame_of_sound = av.AudioFrame.from_ndarray(
                    (wave[None] * 8000).astype(np.int16), "s16", "mono"
                )
                frame_of_sound.sample_rate = SOUND_RATE
                frame_of_sound.pts, frame_of_sound.time_base = start, Fraction(1, SOUND_RATE)
                out.mux(tone.encode(frame_of_sound))
            out.mux(tone.encode(None))


def read_clip(path: Path) -> tuple[list[float], list[Picture], list[bytes]]:
    """Times in seconds, upright pictures, and packets of sound of a video file."""
    times, pictures, packets = [], [], []
    with av.open(str(path)) as clip:
        for packet in clip.demux():
            if packet.stream.type == "audio":
                if packet.size:
                    packets.append(bytes(packet))
                continue
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                times.append(float(frame.time))
                upright = np.rot90(
                    frame.to_ndarray(format="rgb24", interpolation=EXACT), frame.rotation // 90
                )
                pictures.append(upright)
    return times, pictures, packets
