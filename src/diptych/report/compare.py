"""Several runs side by side: their scores, and what each makes of the same pictures."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from diptych.data.looking import read_for_looking
from diptych.errors import UsageError
from diptych.evaluation.results import DirectionScores, Evaluation
from diptych.evaluation.table import ScoreTable, likeness_cells, set_cells, set_names
from diptych.host.files import explain_os_errors, write_whole
from diptych.report.page import check_page_name, picture_url, true_translations
from diptych.settings import flat
from diptych.sides import SIDES, Side, other_side, way_name
from diptych.templates import template
from diptych.training.run_folder import RunFolder
from diptych.translation.other_size import viewed_size, with_size
from diptych.translation.translator import Translator, load
from diptych.words import counted

WAYS: tuple[Side, ...] = ("b", "a")
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


@dataclass(frozen=True)
class Grid:
    """Held-out pictures one way: in each row the picture, each run's translation, the true one."""

    title: str
    made_by: list[str]  # runs, and "truth" where any is known
    rows: list[tuple[str, list[str]]]  # a picture's name, and data URLs


def write_comparison(
    runs: Sequence[RunFolder],
    scores: Sequence[ScoreTable],
    settings: Sequence[ScoreTable],
    out: Path,
    pictures: int,
) -> Path:
    """Write a self-contained page: scores, a grid of the same held-out pictures, settings.

    Pictures that not every run holds out are left away: a run may have learned from them. Raises
    DiptychError if the page cannot be written.
    """
    check_page_name(out)
    loaded = [(run, load(run.path, "cpu")) for run in runs]
    first, translator = loaded[0]
    scored = first.read_evaluation(translator.info.step)
    found = None if scored is None else scored.evaluation
    grids = [
        make_grid(loaded, to, pictures, true_translations(to, found, first.data())) for to in WAYS
    ]
    page = template("report/compare.html.j2").render(
        runs=len(runs),
        scores=scores,
        grids=[grid for grid in grids if grid.made_by],
        larger=any(viewed_size(its) > run.config().data.size for run, its in loaded),
        settings=settings,
    )
    with explain_os_errors(f"write the comparison {out}"):
        write_whole(out, page)
    return out


def make_grid(
    loaded: Sequence[tuple[RunFolder, Translator]],
    to: Side,
    most: int,
    true_of: Mapping[Path, Path],
) -> Grid:
    """At most ``most`` pictures, and what those runs make of them that translate ``to`` it.

    ``true_of``: the true translations of the first run's pictures, as far as they are known.
    """
    shown = list(islice(_held_out_by_all([run for run, _ in loaded], other_side(to)), most))
    grid = Grid(way_name(to), [], [])
    columns: list[dict[Path, str]] = []  # the first run's pictures, and a run's for each
    truths: dict[Path, str] = {}
    for n, (run, translator) in enumerate(loaded):
        if to not in translator.pair.ways:
            continue
        config = with_size(run.config(), viewed_size(translator))
        own, other = translator.formats(to)
        firsts = {row[n]: row[0] for row in shown}
        found = read_for_looking(firsts, config.reading(other_side(to)), own, config)
        if not columns:
            columns.append({firsts[path]: picture_url(picture, own) for path, picture in found})
            for path in columns[0].keys() & true_of.keys():
                for _, true in read_for_looking([true_of[path]], config.reading(to), other, config):
                    truths[path] = picture_url(true, other)
        grid.made_by.append(str(run.path))
        columns.append(
            {
                firsts[path]: picture_url(translator.arrays([picture], to)[0], other)
                for path, picture in found
            }
        )
    if truths:
        grid.made_by.append("truth")
        columns.append(truths)
    for path in columns[0] if columns else ():
        grid.rows.append((path.name, [column.get(path, "") for column in columns]))
    return grid


def _held_out_by_all(runs: Sequence[RunFolder], side: Side) -> Iterator[tuple[Path, ...]]:
    """Pictures that every run holds out, each with its file in the folders of every run.

    Runs may have folders of their own: files of one name and content are one picture.
    """
    first, *others = ([Path(path) for path in run.data()[side]["heldout"]] for run in runs)
    named: list[dict[str, list[Path]]] = [defaultdict(list) for _ in others]
    for by_name, held in zip(named, others, strict=True):
        for path in held:
            by_name[path.name].append(path)
    for path in first:
        found = [_same_picture(path, by_name[path.name]) for by_name in named]
        if None not in found:
            yield (path, *(one for one in found if one is not None))


def _same_picture(path: Path, candidates: Sequence[Path]) -> Path | None:
    """That of the candidates which is, or holds the same as, the file ``path``."""
    if path in candidates:
        return path
    for other in candidates:
        with suppress(OSError):
            if filecmp.cmp(path, other, shallow=False):
                return other
    return None
