"""Arguments and options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from diptych.settings import Tree

FolderA = Annotated[Optional[Path], typer.Argument(help="Folder of domain A.")]
FolderB = Annotated[Optional[Path], typer.Argument(help="Folder of domain B.")]
BothFolders = Annotated[
    Optional[Path], typer.Option(help="Instead of A and B: a folder with trainA, trainB ...")
]
RunOrModel = Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")]
TranslatePrecision = Annotated[
    str,
    typer.Option(
        help="float32; bf16, faster with matrix units (AMX) and on AMD since Zen 4, less than "
        "one level of 255 off; int8, faster on CPUs with VNNI, half a level off, with some models "
        "more; auto: bf16 where trainings use it. (Pictures in strips: float32.)"
    ),
]
Strength = Annotated[
    float,
    typer.Option(
        help="How much a model that retouches (laptop, best) changes pictures: 1 as by itself, "
        "0.5 half as much, 1.5 half again as much."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]

# What a training is made with, and `diptych data check` can be told of.
Preset = Annotated[
    Optional[str],
    typer.Option(
        help="laptop, repaint, best, paper or classic. Default: paper with a CUDA or ROCm "
        "GPU; else laptop, or repaint for CUT and networks that cannot retouch."
    ),
]
From = Annotated[
    Optional[Path],
    typer.Option("--from", help="Start from this run or model file (also of `diptych import`)."),
]
ConfigFile = Annotated[
    Optional[Path], typer.Option(help="YAML file of settings, on top of the preset.")
]
Method = Annotated[
    Optional[str], typer.Option(help="cyclegan (both ways), or cut, fastcut: from A to B only.")
]
Size = Annotated[Optional[int], typer.Option(help="Pixels a side of the training crops.")]
Preprocess = Annotated[
    Optional[str], typer.Option(help="resize-crop, resize, crop, scale-width-crop or none.")
]
Batch = Annotated[Optional[int], typer.Option(help="Pictures of each domain per batch.")]
Channels = Annotated[
    Optional[int], typer.Option(help="Channels to read: 1 for grey, 3 for colour, or N.")
]
Depth = Annotated[
    Optional[str], typer.Option(help="8bit, or native: keep 16-bit and float values.")
]
RangeA = Annotated[
    Optional[str],
    typer.Option(
        help="low,high: A's values, mapped to -1 .. 1. More such pairs: one for each channel."
    ),
]
RangeB = Annotated[Optional[str], typer.Option(help="The same for B.")]
Background = Annotated[Optional[str], typer.Option(help="Colour behind transparent pictures.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse damaged pictures instead of leaving them out.")
]
Set = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="Any setting: section.key=value. Can be repeated."),
]


def settings_of_pictures(
    size: int | None,
    preprocess: str | None,
    channels: int | None,
    depth: str | None,
    range_a: str | None,
    range_b: str | None,
    background: str | None,
    strict: bool,
) -> Tree:
    """The sections a, b and data of what is given of these options.

    Raises UsageError for ranges that are none.
    """
    from diptych.settings import given

    domain = given(channels=channels, depth=depth)
    return {
        "a": {**domain, **given(range=_ranges("--range-a", range_a))},
        "b": {**domain, **given(range=_ranges("--range-b", range_b))},
        "data": given(
            size=size, preprocess=preprocess, background=background, strict=strict or None
        ),
    }


def _ranges(option: str, text: str | None) -> list[float] | list[list[float]] | None:
    from diptych.errors import UsageError

    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
        pairs = [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: write it as low,high, as in 0,4095; a pair for each channel"
        ) from None
    return pairs[0] if len(pairs) == 1 else pairs
