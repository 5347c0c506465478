"""``diptych export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")],
    format_: Annotated[
        str, typer.Option("--format", help="official: .pth files for the field's own code.")
    ] = "official",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in OUT.")] = False,
) -> None:
    """Write a model in another program's format."""
    from diptych.cli.console import say
    from diptych.errors import UsageError, nearest
    from diptych.interchange.model import export_official
    from diptych.translation.translator import load

    if format_ != "official":
        raise UsageError(f"--format {format_!r}: {nearest(format_, ['official'])}")
    for path in export_official(load(run, "cpu").pair, out, overwrite):
        say(str(path))
