"""``diptych compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from diptych.cli.options import Device


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Page to write.")] = Path("compare.html"),
    features: Annotated[
        Optional[str], typer.Option(help="inception or efficientnet-lite0, as for evaluate.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Held-out pictures to show.")] = 8,
    device: Device = "auto",
) -> None:
    """Put runs side by side: their scores, and the same pictures. Unscored runs are scored."""
    from diptych.cli.console import say, show_table
    from diptych.errors import UsageError, one_of
    from diptych.evaluation.features import FEATURE_NAMES
    from diptych.model_file import read_info
    from diptych.report.compare_page import write_comparison
    from diptych.report.compare_tables import score_comparison, settings_that_differ
    from diptych.report.page import check_page_name
    from diptych.scoring import evaluate, stored_evaluation
    from diptych.training.run_folder import RunFolder

    if len(runs) < 2:
        raise UsageError("give two or more runs to compare")
    name = one_of("--features", features, FEATURE_NAMES)
    check_page_name(out)  # before scoring, which takes minutes
    folders = [RunFolder(run) for run in runs]
    for folder in folders:  # (all can be scored, before the first takes minutes)
        folder.config()
        folder.data()
        read_info(folder.saved_model())
    evaluations = []
    for run in runs:
        stored = stored_evaluation(run)
        if stored is None or name not in (None, stored.features):
            say(f"scoring {run} ...")
            evaluations.append(evaluate(run, features=name, device=device, keep=stored is None))
        else:
            evaluations.append(stored)
    scores = score_comparison(folders, evaluations)
    settings = settings_that_differ(folders)
    page = write_comparison(folders, scores, settings, out, pictures)
    for table in [*scores, *settings]:  # (nobody may read them to the end)
        show_table(table.title, table.columns, table.rows, table.note)
    say(f"comparison in {page}")
