"""``report.html``: what a run did, on one page that can be mailed."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from diptych.config import Config, DomainConfig
from diptych.data.decode import read_picture
from diptych.data.looking import read_for_looking
from diptych.data.opening import DamagedPictureError
from diptych.data.partners import belong_together, partners
from diptych.data.pixels import PixelFormat, Pixels, preview, to_pil
from diptych.errors import UsageError
from diptych.evaluation.results import Evaluation
from diptych.host.files import explain_os_errors, write_whole
from diptych.model_file import GeneratorPair
from diptych.report.curves import loss_charts, score_charts
from diptych.sides import Side, other_side, way_name
from diptych.templates import template
from diptych.training.checkpoint import step_of
from diptych.training.records import DataRecord, flattering
from diptych.training.run_folder import RunFolder
from diptych.training.samples import translate_there_and_back
from diptych.translation.other_size import at_size, viewed_size, with_size
from diptych.translation.translator import load

MOST_RANKED = 4  # best and worst pictures of each direction
LARGEST_PNG = 128  # pixels a side: more would make a heavy page
PAGE_ENDINGS = (".html", ".htm", "")
MOST_SHEETS = 24  # on the slider: first, last, and evenly between
MOST_WEBP = 16_383  # pixels a side


@dataclass(frozen=True)
class Row:
    """One held-out picture on the page; pictures are data URLs."""

    name: str
    picture: str
    fake: str
    rec: str | None  # None where the model has no way back
    truth: str | None  # its true translation, if there is one
    cycle_l1: float | None  # mean|rec - picture| in [-1, 1] units


@dataclass(frozen=True)
class Gallery:
    """Held-out pictures under one heading, translated to domain ``to``."""

    title: str
    to: Side
    rows: list[Row]

    @property
    def source(self) -> str:
        """The name of the domain that they are of."""
        return other_side(self.to).upper()

    @property
    def target(self) -> str:
        """The name of the domain that they are translated to."""
        return self.to.upper()


def write_report(run: RunFolder, out: Path | None = None, pictures: int = 8) -> Path:
    """Write the page (by default ``report.html`` in the run) and return its path.

    Raises DiptychError if there is no run, or no model in it yet.
    """
    config = run.config()
    target = check_page_name(out or run.report)
    translator = load(run.saved_model(), "cpu")
    view = viewed_size(translator)
    pair = at_size(translator, view) if view != config.data.size else translator.pair
    viewed, data = with_size(config, view), run.data()
    metrics = run.read_metrics()
    seconds = metrics[-1].get("seconds", 0) if metrics else 0
    of_demo, scored = run.read_demo_scores(pair.info.step), run.read_evaluation(pair.info.step)
    found = None if scored is None else scored.evaluation
    true_of = {to: true_translations(to, found, data) for to in pair.ways}
    galleries = [
        Gallery(way_name(to), to, rows)
        for to in pair.ways
        if (rows := _rows(pair, viewed, to, data[other_side(to)]["heldout"], pictures, true_of[to]))
    ]
    if found is not None:
        galleries += _best_and_worst(found, pair, viewed, data, true_of)
    features = str(config.training.features)  # (of the curve; each table names its own)
    page = template("report/page.html.j2").render(
        name=run.path.resolve().name,
        config=config,
        view=view,
        both_ways=len(pair.ways) == 2,
        step=pair.info.step,
        seconds=seconds,
        steps_per_second=metrics[-1]["step"] / seconds if seconds else None,
        made_with=run.made_with(),
        data=data,
        tables=[*([of_demo] if of_demo else []), *(scored.tables if scored else [])],
        charts=[*score_charts(run.read_evaluations(), features), *loss_charts(metrics)],
        sheets=_sheets(run),
        warnings=run.read_warnings(),
        moved_command=run.moved_command,
        lost=run.missing(),
        learned_from=flattering(data),
        galleries=galleries,
        settings=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    )
    with explain_os_errors(f"write the report {target}"):
        write_whole(target, page)
    return target


def check_page_name(path: Path) -> Path:
    """The name of a page to write, whose folder is made if need be.

    Raises UsageError if it is that of another kind of file, or of somebody's own page, DiptychError
    if there can be no folder.
    """
    if path.exists() and not (path.is_file() and _is_of_diptych(path)):
        raise UsageError(f"{path} exists and is no page of diptych's: choose another name")
    if path.suffix.lower() not in PAGE_ENDINGS:
        raise UsageError(f"{path}: name a page, NAME.html")
    with explain_os_errors(f"write the page {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _is_of_diptych(path: Path) -> bool:
    """Whether a file is a report or a comparison, or empty; all pages have such a title."""
    with explain_os_errors(f"read {path}"), open(path, "rb") as file:
        start = file.read(4096)
    return not start or b" - diptych</title>" in start


def _sheets(run: RunFolder) -> list[tuple[int, str]]:
    """Step and picture of the sample sheets, at most MOST_SHEETS of them, without broken ones."""
    named = ((step_of(path.stem), path) for path in run.samples.glob("step-*.png"))
    found = sorted((step, path) for step, path in named if step is not None)
    if len(found) > MOST_SHEETS:
        chosen = np.linspace(0, len(found) - 1, MOST_SHEETS).round().astype(int)
        found = [found[i] for i in chosen]
    sheets = []
    for step, path in found:
        with suppress(DamagedPictureError):
            shown = to_pil(read_picture(path, DomainConfig()))
            shown.thumbnail((MOST_WEBP, MOST_WEBP))
            sheets.append((step, data_url(shown, "WEBP")))
    return sheets


def _best_and_worst(
    found: Evaluation,
    pair: GeneratorPair,
    config: Config,
    data: DataRecord,
    true_of: Mapping[Side, Mapping[Path, Path]],
) -> list[Gallery]:
    """What an evaluation found closest to real pictures, and farthest from them."""
    galleries = []
    for direction in found.directions:
        to = direction.to
        if direction.distances is None or to not in pair.ways:
            continue
        held = set(data[other_side(to)]["heldout"])  # (they may have moved since)
        ranked = [path for path in direction.distances.best_first if path in held]
        for which, paths in (("best", ranked), ("worst", ranked[::-1])):
            title = f"{way_name(to)}: the {which} by {found.features} features"
            if rows := _rows(pair, config, to, paths[:MOST_RANKED], MOST_RANKED, true_of[to]):
                galleries.append(Gallery(title, to, rows))
    return galleries


def true_translations(to: Side, found: Evaluation | None, data: DataRecord) -> dict[Path, Path]:
    """Of held-out pictures those that the scores compare with; by name while there are none."""
    if found is not None:
        known = next((one.true_of for one in found.directions if one.to == to), {})
        return {Path(source): Path(true) for source, true in known.items()}
    sources, targets = ([Path(p) for p in data[side]["heldout"]] for side in (other_side(to), to))
    places = partners(sources, targets) if belong_together(sources, targets) else None
    return dict(zip(sources, [targets[i] for i in places or ()], strict=False))


def _rows(
    pair: GeneratorPair,
    config: Config,
    to: Side,
    paths: Sequence[str],
    most: int,
    true_of: Mapping[Path, Path],
) -> list[Row]:
    own, other = pair.info.formats(to)
    own_reading, other_reading = config.reading(other_side(to)), config.reading(to)
    rows = []
    for path, picture in read_for_looking(map(Path, paths), own_reading, own, config, most):
        made = translate_there_and_back(pair, to, picture, torch.device("cpu"))
        true = [true_of[path]] if path in true_of else []
        truth = read_for_looking(true, other_reading, other, config)
        rows.append(
            Row(
                path.name,
                picture_url(picture, own),
                picture_url(made.fake, other),
                None if made.rec is None else picture_url(made.rec, own),
                picture_url(truth[0][1], other) if truth else None,
                None if made.rec is None else own.l1(made.rec, picture),
            )
        )
    return rows


def picture_url(picture: Pixels, pixel_format: PixelFormat) -> str:
    """A picture to look at: large ones are packed as WebP, which shows no difference there."""
    small = max(picture.shape[:2]) <= LARGEST_PNG
    return data_url(preview(picture, pixel_format), "PNG" if small else "WEBP")


def data_url(image: Image.Image, kind: str) -> str:
    """The picture itself as an address, so that a page needs no other file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
