"""``diptych report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Optional[Path], typer.Option("-o", "--out", help="File to write. Default: RUN/report.html.")
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=1, help="Held-out pictures of each domain to show.")
    ] = 8,
) -> None:
    """Write one self-contained page about a run."""
    from diptych.cli.console import note, say
    from diptych.report.page import write_report
    from diptych.training.run_folder import RunFolder
    from diptych.words import counted

    folder = RunFolder(run)
    page = write_report(folder, out, pictures)
    if lost := folder.missing():
        note(
            f"missing: {counted(len(lost), 'held-out picture')}, the first of them {lost[0]}. If "
            f"they have moved, say where to: {folder.moved_command}"
        )
    say(f"report in {page}")
