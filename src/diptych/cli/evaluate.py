"""``diptych evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from diptych.cli.options import Device, Strength


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    features: Annotated[
        Optional[str],
        typer.Option(help="inception or efficientnet-lite0. Default: the first that is at hand."),
    ] = None,
    inception_file: Annotated[
        Optional[Path], typer.Option(help="inception-2015-12-05.pt, if it is here already.")
    ] = None,
    paired: Annotated[
        Optional[bool],
        typer.Option(
            "--paired/--unpaired",
            help="Compare each translation with its partner, by name or, with --paired, by order.",
        ),
    ] = None,
    palette: Annotated[
        Optional[str],
        typer.Option(help="B shows label maps in these colours: #ffffff,#00ff00 ..."),
    ] = None,
    palette_a: Annotated[Optional[str], typer.Option(help="The same for A.")] = None,
    classifier: Annotated[
        Optional[str],
        typer.Option(help="B shows these ImageNet classes, by number: 340 for zebras."),
    ] = None,
    classifier_a: Annotated[Optional[str], typer.Option(help="The same for A.")] = None,
    size: Annotated[
        Optional[int],
        typer.Option(help="Pixels a side to score at (not kept). Default: as trained."),
    ] = None,
    model: Annotated[
        Optional[Path],
        typer.Option(help="Score this model in place of the run's own (not kept)."),
    ] = None,
    strength: Strength = 1.0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    device: Device = "auto",
) -> None:
    """Score a run on its held-out pictures."""
    import json
    from dataclasses import asdict

    import diptych.scoring
    from diptych.cli.console import say, show_table
    from diptych.errors import one_of, warn
    from diptych.evaluation.features import FEATURE_NAMES
    from diptych.evaluation.table import score_tables
    from diptych.training.run_folder import RunFolder
    from diptych.words import counted, printable, typed

    found = diptych.scoring.evaluate(
        run,
        features=one_of("--features", features, FEATURE_NAMES),
        inception_file=inception_file,
        paired=paired,
        a=diptych.scoring.Target(palette_a, _classes("--classifier-a", classifier_a)),
        b=diptych.scoring.Target(palette, _classes("--classifier", classifier)),
        size=size,
        device=device,
        model=model,
        strength=strength,
    )
    if found.unread:
        warn(
            f"missing or damaged: {counted(len(found.unread), 'held-out picture')}, the first of "
            f"them {printable(found.unread[0])}. If they have moved, say where to: "
            f"{RunFolder(run).moved_command}"
        )
    if json_:
        print(json.dumps(asdict(found), indent=1))
        return
    for table in score_tables(found):
        show_table(table.title, table.columns, table.rows, table.note)
    ranked = any(direction.distances is not None for direction in found.directions)
    if ranked and model is None and diptych.scoring.stored_evaluation(run) == found:
        say(f"next: diptych report {typed(run)}   (a page, with the best and worst pictures)")


def _classes(option: str, text: str | None) -> tuple[int, ...]:
    from diptych.errors import UsageError

    try:
        return () if text is None else tuple(int(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r}: give numbers of ImageNet classes, 0 to 999") from None
