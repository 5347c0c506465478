"""``diptych demo``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from diptych.cli.options import Device


def demo(
    run: Annotated[
        Optional[Path], typer.Option(help="Folder to make. Default: runs/demo, runs/demo-2 ...")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train.")] = 3.0,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed: another one gives other first weights.")
    ] = 0,
    device: Device = "auto",
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the report in a browser.")
    ] = True,
) -> None:
    """Learn map <-> aerial picture on built-in towns, and show a report."""
    import webbrowser

    from diptych.cli.console import say, show_table, training_listener
    from diptych.cli.log import output_is_a_log
    from diptych.demo import COLUMNS, free_run, run_demo, score_rows
    from diptych.report.page import write_report
    from diptych.training.run_folder import RunFolder
    from diptych.words import duration, typed

    output_is_a_log()
    folder = RunFolder(run) if run is not None else free_run(Path("runs"))
    say("diptych demo: aerial pictures (A) and street maps (B) of small made-up towns.")
    say("Nobody says which map belongs to which picture; watch it find out.\n")
    with training_listener(folder) as listener:
        scores = run_demo(folder, minutes, seed, device, listener)
    last = folder.read_metrics()[-1]
    show_table(f"On {scores.towns} held-out towns:", COLUMNS, score_rows(scores))
    each = ", ".join(f"{name} {share:.0%}" for name, share in scores.class_accuracy.items())
    say(f"aerial to map by class: {each}")
    pace = last["step"] / last["seconds"]
    say(f"{last['step']:.0f} steps in {duration(last['seconds'])}, {pace:.1f} steps/s\n")
    page = write_report(folder)
    say(f"report: {page}")
    place = typed(folder.path)
    say(f"next:   diptych translate {place} PICTURE -o out/   (an aerial picture, to a map)")
    say("        diptych train YOUR_A/ YOUR_B/ --run runs/mine")
    screen = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if open_ and screen and sys.stdout.isatty():  # (else a browser for text would wait there)
        webbrowser.open(page.resolve().as_uri())
