"""``report.html``: what a run did, on one page that can be mailed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from diptych.config import Config, DomainConfig
from diptych.data.decode import read_picture
from diptych.data.domain import read_for_looking
from diptych.data.opening import DamagedPictureError
from diptych.data.partners import belong_together, partners
from diptych.data.pixels import PixelFormat, Pixels, preview, to_pil
from diptych.errors import UsageError
from diptych.evaluation.results import Evaluation
from diptych.files import explain_os_errors, write_whole
from diptych.model_file import GeneratorPair, Side, other_side, way_name
from diptych.report.chart import line_chart
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
    truth: str | None  # the picture of the same name in the other domain, if there is one
    cycle_l1: float | None  # mean|rec - picture| in [-1, 1] units


@dataclass(frozen=True)
class Gallery:
    """Held-out pictures under one heading."""

    title: str
    own: str
    other: str
    rows: list[Row]


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
    if scored is not None:
        paired = _paired(scored.evaluation)
    else:
        held_a, held_b = (list(map(Path, record["heldout"])) for record in (data["a"], data["b"]))
        paired = belong_together(held_a, held_b)
    galleries = [
        Gallery(way_name(other), side.upper(), other.upper(), rows)
        for other in pair.ways
        for side in [other_side(other)]
        if (rows := _rows(pair, viewed, data, other, data[side]["heldout"], pictures, paired))
    ]
    if scored is not None:
        galleries += _best_and_worst(scored.evaluation, pair, viewed, data)
    curves = (_thousandfold(run.read_evaluations()), metrics)
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
        charts=[one for lines in curves for one in _charts(lines, features)],
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


def _charts(metrics: list[dict[str, float]], features: str) -> list[str]:
    def chart(title: str, **names: str) -> list[str]:
        """Those lines that the method has; none for a chart without any."""
        present = {
            label: key for label, key in names.items() if any(key in line for line in metrics)
        }
        whole = [line for line in metrics if all(key in line for key in present.values())]
        if not present or not whole:
            return []
        lines = {label: [line[key] for line in whole] for label, key in present.items()}
        return [line_chart(title, [line["step"] for line in whole], lines)]

    return [
        *chart(
            f"KID x 1000 ({features})",
            **{"to B": "kid/to_b", "to A": "kid/to_a"},
        ),
        *chart("cycle loss (L1)", A="cycle_a", B="cycle_b"),
        *chart("patch contrast (PatchNCE)", A="contrast_a", B="contrast_b"),
        *chart(
            "adversarial loss of the generators", G_ab="G_ab/adversarial", G_ba="G_ba/adversarial"
        ),
        *chart("loss of the discriminators", D_a="D_a", D_b="D_b"),
        *chart("identity loss (L1)", A="identity_a", B="identity_b"),
        *chart("change of what is plain (L1)", A="plain_a", B="plain_b"),
        *chart("learning rate", rate="rate"),
    ]


def _thousandfold(scores: list[dict[str, float]]) -> list[dict[str, float]]:
    """Scores through time as people read them: KID is quoted in thousandths."""
    return [
        {key: 1000 * value if key.startswith("kid/") else value for key, value in line.items()}
        for line in scores
    ]


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
    found: Evaluation, pair: GeneratorPair, config: Config, data: DataRecord
) -> list[Gallery]:
    """What an evaluation found closest to real pictures, and farthest from them."""
    galleries = []
    for direction in found.directions:
        side, other = other_side(direction.to), direction.to
        if direction.distances is None or other not in pair.ways:
            continue
        held = set(data[side]["heldout"])  # (they may have moved since)
        ranked = [path for path in direction.distances.best_first if path in held]
        for which, paths in (("best", ranked[:MOST_RANKED]), ("worst", ranked[-MOST_RANKED:])):
            title = f"{way_name(other)}: the {which} by {found.features} features"
            if rows := _rows(pair, config, data, other, paths, MOST_RANKED, _paired(found)):
                galleries.append(Gallery(title, side.upper(), other.upper(), rows))
    return galleries


def _paired(evaluation: Evaluation) -> bool:
    """Whether a run was scored against true translations."""
    return any(direction.paired is not None for direction in evaluation.directions)


def _rows(
    pair: GeneratorPair,
    config: Config,
    data: DataRecord,
    to: Side,
    paths: Sequence[str],
    most: int,
    paired: bool,
) -> list[Row]:
    """``paired``: a held-out picture of the same name is the true translation."""
    own, other = pair.info.formats(to)
    own_reading, other_reading = config.reading(other_side(to)), config.reading(to)
    mine, others = ([Path(p) for p in data[s]["heldout"]] for s in (other_side(to), to))
    places = partners(mine, others) if paired else None
    true_of = {} if places is None else dict(zip(mine, [others[i] for i in places], strict=True))
    rows = []
    for path, picture in read_for_looking(map(Path, paths), own_reading, own, config, most):
        made = translate_there_and_back(pair, to, picture, torch.device("cpu"))
        truth = read_for_looking([true_of[path]], other_reading, other, config) if true_of else []
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
