"""Which files are videos, and which can be written, by their endings."""

from __future__ import annotations

from pathlib import Path

from diptych.errors import UsageError

UNPLAYED = (".webp", ".avif")  # FFmpeg reads their first picture only
ENDINGS = frozenset(
    [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
     ".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".vob", ".f4v"]
)  # fmt: skip
# What is written, with its codec and settings that lose little.
X264 = ("libx264", {"crf": "18", "preset": "medium"})
VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "row-mt": "1", "cpu-used": "4"})
WRITTEN = {".mp4": X264, ".m4v": X264, ".mov": X264, ".mkv": X264, ".webm": VP9}


def is_clip(path: Path) -> bool:
    """Whether a file is a video, by its ending."""
    return path.suffix.lower() in ENDINGS


def clip_ending(source: Path) -> str:
    """The ending for the translation of a video in a folder: its own, or one that holds all."""
    return source.suffix.lower() if source.suffix.lower() in WRITTEN else ".mkv"


def check_clip_name(path: Path) -> None:
    """Raise UsageError if videos cannot be written under this name."""
    if path.suffix.lower() not in WRITTEN:
        raise UsageError(f"cannot write a video as {path}: choose from {', '.join(WRITTEN)}")
