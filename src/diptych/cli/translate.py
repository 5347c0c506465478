"""``diptych translate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def translate(
    run: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    inputs: Annotated[list[Path], typer.Argument(help="Pictures and folders of pictures.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the translations.")],
    to: Annotated[str, typer.Option(help="Domain to translate to: a or b.")] = "b",
    size: Annotated[
        Optional[int], typer.Option(help="First scale the shorter side to this many pixels.")
    ] = None,
    format_: Annotated[
        Optional[str],
        typer.Option("--format", help="png, jpg, webp, tif, bmp or npy. Default: png or tif."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once, where sizes agree.")] = 8,
    tile: Annotated[
        str,
        typer.Option(
            help="Rows at once of pictures too large for the memory; auto, off, or a number."
        ),
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in OUT (but never an input).")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
) -> None:
    """Translate pictures with a trained model."""
    from diptych.cli.console import note, progress_bar, say
    from diptych.errors import DiptychError, UsageError, nearest
    from diptych.model_file import Side
    from diptych.translation.files import (
        Outcome,
        check_format,
        default_format,
        plan,
        translate_files,
    )
    from diptych.translation.large import parse_tile
    from diptych.translation.translator import load

    if to not in ("a", "b"):
        raise UsageError(f"--to {to!r}: {nearest(to, ['a', 'b'])}")
    side: Side = "a" if to == "a" else "b"
    if size is not None and size < 1:
        raise UsageError(f"--size {size}: give a number of pixels, 1 or more")
    translator = load(run, device, parse_tile(tile))
    translator.pair.towards(side)  # (a model of one way says so before it looks for pictures)
    _, target = translator.formats(side)
    ending = (
        (format_ or default_format(target)).lower().replace("jpeg", "jpg").replace("tiff", "tif")
    )
    check_format(ending, target)
    jobs = plan(inputs, out, ending, overwrite)

    with progress_bar() as progress:
        bar = progress.add_task("translating", total=len(jobs), info="")

        def show(outcome: Outcome) -> None:
            done = int(progress.tasks[bar].completed) + 1
            progress.update(bar, completed=done, info=outcome.job.source.name)
            if outcome.problem is not None:
                note(f"skipped {outcome.job.source}: {outcome.problem}")

        def show_part(share: float) -> None:
            whole = int(progress.tasks[bar].completed)
            progress.update(bar, completed=whole + min(share, 0.999), info="")

        outcomes = translate_files(translator, jobs, side, size, batch, show, show_part)
    written = [outcome for outcome in outcomes if outcome.problem is None]
    if not written:
        first = outcomes[0]
        raise DiptychError(
            f"none of the {len(outcomes)} pictures could be read; the first: "
            f"{first.job.source}: {first.problem}"
        )
    skipped = f" ({len(outcomes) - len(written)} skipped)" if len(written) < len(outcomes) else ""
    say(f"{len(written)} pictures written to {out}{skipped}")
