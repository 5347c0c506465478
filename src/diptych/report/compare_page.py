"""Several runs side by side on a page: tables, and what each makes of the same pictures."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from diptych.data.looking import read_for_looking
from diptych.evaluation.table import ScoreTable
from diptych.host.files import explain_os_errors, write_whole
from diptych.report.page import check_page_name, picture_url, true_translations
from diptych.sides import WAYS, Side, other_side, way_name
from diptych.templates import template
from diptych.training.run_folder import RunFolder
from diptych.translation.other_size import viewed_size, with_size
from diptych.translation.translator import Translator, load


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
