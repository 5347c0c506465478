"""Several runs side by side: their scores, and what each makes of the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.data.domain import read_for_looking
from diptych.data.pixels import preview
from diptych.errors import UsageError
from diptych.evaluation.scores import Direction, Evaluation
from diptych.evaluation.table import ScoreTable
from diptych.files import explain_os_errors, write_whole
from diptych.report.page import data_url, template
from diptych.training.run_folder import RunFolder
from diptych.translation.translator import load


def comparison_tables(
    runs: Sequence[RunFolder], evaluations: Sequence[Evaluation]
) -> list[ScoreTable]:
    """One table for each direction, one row for each run.

    Raises UsageError for scores of different features, which cannot be compared.
    """
    kinds = {evaluation.features for evaluation in evaluations}
    if len(kinds) > 1:
        raise UsageError(f"scores of {' and '.join(sorted(kinds))} features cannot be compared")
    columns = ["run", "steps", "minutes", "px", "KID x 1000", "95 % interval"]
    columns += [evaluations[0].frechet_name, "precision", "recall", "cycle L1"]
    note = (
        f"{evaluations[0].features} features. Lower is better, but for precision and recall. "
        "Scores of pictures of different sizes cannot be compared."
    )
    tables = []
    for name in ("A to B", "B to A"):
        rows = []
        for run, evaluation in zip(runs, evaluations, strict=True):
            direction = evaluation.to_b if name == "A to B" else evaluation.to_a
            seconds = max((line["seconds"] for line in run.read_metrics()), default=0.0)
            facts = [str(run.path), f"{evaluation.step:,}", f"{seconds / 60:.0f}"]
            facts.append(str(evaluation.size))
            rows.append(facts + _scores(direction))
        tables.append(ScoreTable(name, columns, rows, note))
    return tables


def _scores(direction: Direction) -> list[str]:
    cycle = f"{direction.cycle.l1:.4f}"
    if direction.distances is None:
        return ["too few", "", "", "", "", cycle]
    found = direction.distances.translations
    return [
        f"{1000 * found.kid.value:.1f}",
        f"{1000 * found.kid.low:.1f} to {1000 * found.kid.high:.1f}",
        f"{found.frechet:.1f}",
        f"{found.precision:.2f}",
        f"{found.recall:.2f}",
        cycle,
    ]


def write_comparison(
    runs: Sequence[RunFolder], tables: Sequence[ScoreTable], out: Path, pictures: int
) -> Path:
    """Write a self-contained page with the tables and a grid of the same held-out pictures.

    Pictures that not every run holds out are left away: a run may have learned from them. Raises
    DiptychError if the page cannot be written.
    """
    grids = [
        (f"{side.upper()} to {other.upper()}", _grid(runs, side, pictures))
        for side, other in (("a", "b"), ("b", "a"))
    ]
    names = [str(run.path) for run in runs]
    page = template("compare.html.j2").render(tables=tables, names=names, grids=grids)
    with explain_os_errors(f"write the comparison {out}"):
        write_whole(out, page)
    return out


def _grid(runs: Sequence[RunFolder], side: str, most: int) -> list[tuple[str, list[str]]]:
    """Rows of a picture's name and data URLs: the picture, then each run's translation."""
    first, *others = (run.data()[side]["heldout"] for run in runs)
    common = [Path(path) for path in first if all(path in other for other in others)]
    columns: list[dict[str, str]] = []
    for run in runs:
        config, translator = run.config(), load(run.path, "cpu")
        own, other = translator.formats("b" if side == "a" else "a")
        reading = config.a if side == "a" else config.b
        found = read_for_looking(common[:most], reading, own, config)
        if not columns:
            columns.append({path.name: data_url(preview(p, own)) for path, p in found})
        fakes = [translator.arrays([p], "b" if side == "a" else "a")[0] for _, p in found]
        views = [data_url(preview(fake, other)) for fake in fakes]
        columns.append({path.name: view for (path, _), view in zip(found, views, strict=True)})
    return [(name, [column.get(name, "") for column in columns]) for name in columns[0]]
