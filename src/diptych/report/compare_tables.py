"""Several runs side by side in tables: their scores, and the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from diptych.errors import UsageError
from diptych.evaluation.results import DirectionScores, Evaluation
from diptych.evaluation.table import ScoreTable, likeness_cells, set_cells, set_names
from diptych.settings import flat
from diptych.sides import SIDES, WAYS, Side, way_name
from diptych.training.run_folder import RunFolder
from diptych.words import counted

CYCLE = "cycle L1"
PAIRED = ["L1 to the truth", "PSNR (dB)", "SSIM"]
SCORED_BY = "training.features"  # of scores on the way, and not of the training


def score_comparison(
    runs: Sequence[RunFolder], evaluations: Sequence[Evaluation]
) -> list[ScoreTable]:
    """One table for each direction, one row for each run.

    Raises UsageError for scores of different features, which cannot be compared.
    """
    kinds = {evaluation.features for evaluation in evaluations}
    if len(kinds) > 1:
        raise UsageError(
            f"scores of {' and '.join(sorted(kinds))} features cannot be compared: give --features "
            "and one of them, by which all are scored"
        )
    sets = set_names(evaluations[0])
    columns = ["run", "steps", "minutes", "px", *sets, CYCLE]
    columns += PAIRED if any(map(_paired, evaluations)) else []
    note, alike = _note(runs, evaluations), _scored_alike(evaluations)
    tables = []
    for to in WAYS:
        rows: list[dict[str, str]] = []
        for run, evaluation in zip(runs, evaluations, strict=True):
            direction = evaluation.to_b if to == "b" else evaluation.to_a
            if direction is not None:  # (CUT has one)
                rows.append(_facts(run, evaluation) | _scores(direction, sets))
        untouched = _untouched(evaluations, to) if alike else None
        said = note
        if untouched is not None:
            rows.append(untouched)
            said += " Untouched pictures are what doing nothing would score."
        if rows:
            cells = [[row.get(column, "") for column in columns] for row in rows]
            tables.append(ScoreTable(way_name(to), columns, cells, said))
    return tables


def _paired(evaluation: Evaluation) -> bool:
    """Whether it compares with true translations: then KID leaves each picture's own truth out."""
    return any(direction.paired is not None for direction in evaluation.directions)


def _scored_alike(evaluations: Sequence[Evaluation]) -> bool:
    return len({(one.pictures_digest, one.size, _paired(one)) for one in evaluations}) == 1


def _note(runs: Sequence[RunFolder], evaluations: Sequence[Evaluation]) -> str:
    note = (
        f"{evaluations[0].features} features. Lower is better, but for precision, recall, PSNR "
        "and SSIM. "
        "Scores of pictures of different sizes cannot be compared. The interval is of a model's "
        "KID had other pictures been held out; another seed may differ by more."
    )
    sizes = {one.size for one in evaluations}
    if len({(one.size, one.pictures_digest) for one in evaluations}) > len(sizes):
        note += (
            " Not all of these runs were scored on the same held-out pictures, or on the same "
            "parts or values of them (data.preprocess, data.load_size, channels, depth, range "
            "...): compare with care."
        )
    if len(set(map(_paired, evaluations))) > 1:
        note += (
            " Some were scored against true translations and some not, which KID takes into "
            "account: for the same, diptych evaluate them with --unpaired."
        )
    for run, evaluation in zip(runs, evaluations, strict=True):
        if known := evaluation.learned_from:
            learned = counted(known, "held-out picture")
            note += f" Those of {run.path} flatter: {learned} had been learned from."
    return note


def _facts(run: RunFolder, evaluation: Evaluation) -> dict[str, str]:
    seconds = max((line.get("seconds", 0) for line in run.read_metrics()), default=0.0)
    return {
        "run": str(run.path),
        "steps": f"{evaluation.step:,}",
        "minutes": f"{seconds / 60:.{0 if seconds >= 600 else 1}f}",
        "px": str(evaluation.size or "own"),
    }


def _scores(direction: DirectionScores, sets: Sequence[str]) -> dict[str, str]:
    scores = {sets[0]: "too few"}
    if direction.distances is not None:
        scores = _by_name(sets, set_cells(direction.distances.translations))
    if direction.cycle is not None:
        scores[CYCLE] = f"{direction.cycle.l1:.4f}"
    if direction.paired is not None:
        scores |= _by_name(PAIRED, likeness_cells(direction.paired))
    return scores


def _untouched(evaluations: Sequence[Evaluation], to: Side) -> dict[str, str] | None:
    """A row of what doing nothing would score; None if no evaluation says it."""
    for evaluation in evaluations:
        for direction in evaluation.directions:
            if direction.to == to and direction.distances is not None:
                cells = set_cells(direction.distances.untouched)
                facts = {"run": "(untouched)", "px": str(evaluation.size or "own")}
                return facts | _by_name(set_names(evaluation), cells)
    return None


def _by_name(names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, cells, strict=True))


def settings_that_differ(runs: Sequence[RunFolder]) -> list[ScoreTable]:
    """A table of them, and of the pictures that runs learned from, if any differ."""
    each = [flat(run.config().model_dump(mode="json")) for run in runs]
    rows = []
    for name in each[0]:
        values = [_as_yaml(own.get(name)) for own in each]
        if name != SCORED_BY and len(set(values)) > 1:
            rows.append([name, *values])
    rows += _pictures_that_differ([run.data() for run in runs])
    if not rows:
        return []
    columns = ["", *(str(run.path) for run in runs)]
    return [ScoreTable("Settings that differ", columns, rows, "All others are the same.")]


def _as_yaml(value: object) -> str:
    """As ``--set`` takes it."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def _pictures_that_differ(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Of each domain whose training pictures are not those of all: how many, and from where."""
    return [
        [
            f"pictures of {side.upper()}",
            *(
                f"{own[side]['training_pictures']:,} in {own['folders'].trained(side)}"
                for own in records
            ),
        ]
        for side in SIDES
        if len({own[side]["fingerprint"] for own in records}) > 1
    ]
