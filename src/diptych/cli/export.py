"""``diptych export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from diptych.cli.options import RunOrModel, Strength


def export(
    run: RunOrModel,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="official (.pth files for the field's own code, which knows no laptop, repaint or "
            "best), onnx, tensorflow (Keras and SavedModel), tflite, torch (torch.export), "
            "aotinductor (the same, compiled).",
        ),
    ],
    to: Annotated[
        Optional[str],
        typer.Option(help="Domain to translate to: a or b. Default: both, if the model does."),
    ] = None,
    strength: Strength = 1.0,
    uint8: Annotated[
        bool,
        typer.Option("--uint8", help="onnx, torch, aotinductor: uint8 pictures, not floats."),
    ] = False,
    float16: Annotated[
        bool, typer.Option("--float16", help="onnx: half precision, half the size.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in OUT.")] = False,
) -> None:
    """Write a model in the format of another program, to use it there."""
    from diptych.cli.console import say
    from diptych.errors import UsageError, one_of
    from diptych.interchange.deploy import deploy
    from diptych.interchange.examples import FORMATS, Format
    from diptych.interchange.model import export_official
    from diptych.sides import SIDES
    from diptych.translation.translator import load

    formats: tuple[Literal["official"] | Format, ...] = ("official", *FORMATS)
    chosen = one_of("--format", format_, formats)
    side = one_of("--to", to, SIDES)
    pair = load(run, "cpu", strength=strength).pair
    ways = pair.ways if side is None else (side,)
    if chosen == "official":
        if uint8 or float16:
            raise UsageError("--uint8 and --float16 are for other formats than official")
        paths = export_official(pair, ways, out, overwrite)
    else:
        paths = deploy(pair, chosen, ways, out, uint8, float16, overwrite, strength)
    for path in paths:
        say(str(path))
