"""``report.html``: what a run did, on one page that can be mailed."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
import yaml
from PIL import Image

from diptych.config import Config, DomainConfig
from diptych.data.decode import DamagedPictureError, read_picture
from diptych.data.geometry import fit_for_looking
from diptych.data.pixels import PixelFormat, Pixels, preview
from diptych.files import explain_os_errors, write_whole
from diptych.model_file import GeneratorPair, load_model
from diptych.networks.generator import size_multiple
from diptych.report.chart import line_chart
from diptych.training.run_folder import RunFolder
from diptych.training.samples import translate_there_and_back

MOST_SHEETS = 24  # on the slider: first, last, and evenly between


@dataclass(frozen=True)
class Row:
    """One held-out picture on the page; pictures are data URLs."""

    name: str
    picture: str
    fake: str
    rec: str
    truth: str | None  # the picture of the same name in the other domain, if there is one
    cycle_l1: float  # mean|rec - picture| in [-1, 1] units


def write_report(run: RunFolder, out: Path | None = None, pictures: int = 8) -> Path:
    """Write the page (by default ``report.html`` in the run) and return its path.

    Raises DiptychError if there is no run, or no model in it yet.
    """
    config = run.config()
    pair = load_model(run.model, torch.device("cpu"))
    data = run.data()
    metrics = run.read_metrics()
    made_with = yaml.safe_load((run.path / "config.yaml").read_text()).get("made_with", {})
    sides = [
        ("A", "B", _rows(pair, config, data, "a", pictures)),
        ("B", "A", _rows(pair, config, data, "b", pictures)),
    ]
    page = _template().render(
        name=run.path.resolve().name,
        config=config,
        step=pair.info.step,
        seconds=metrics[-1]["seconds"] if metrics else 0,
        made_with=made_with,
        data=data,
        scores=_scores(run),
        charts=_charts(metrics),
        sheets=_sheets(run),
        sides=sides,
        settings=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    )
    target = out or run.report
    with explain_os_errors(f"write the report {target}"):
        write_whole(target, page)
    return target


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("diptych", "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2")


def _scores(run: RunFolder) -> dict[str, Any] | None:
    """``scores.json`` of the run (title, columns, rows, note), if something has written one."""
    path = run.path / "scores.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _charts(metrics: list[dict[str, float]]) -> list[str]:
    if not metrics:
        return []
    steps = [line["step"] for line in metrics]

    def chart(title: str, **names: str) -> str:
        lines = {label: [line[key] for line in metrics] for label, key in names.items()}
        return line_chart(title, steps, lines)

    charts = [
        chart("cycle loss (L1)", A="cycle_a", B="cycle_b"),
        chart(
            "adversarial loss of the generators", G_ab="G_ab/adversarial", G_ba="G_ba/adversarial"
        ),
        chart("loss of the discriminators", D_a="D_a", D_b="D_b"),
    ]
    if "identity_a" in metrics[0]:
        charts.append(chart("identity loss (L1)", A="identity_a", B="identity_b"))
    charts.append(chart("learning rate", rate="rate"))
    return charts


def _sheets(run: RunFolder) -> list[tuple[int, str]]:
    """Step and picture of the sample sheets, at most MOST_SHEETS of them."""
    paths = sorted(run.samples.glob("step-*.png"))
    if len(paths) > MOST_SHEETS:
        chosen = np.linspace(0, len(paths) - 1, MOST_SHEETS).round().astype(int)
        paths = [paths[i] for i in chosen]
    sheets = []
    for path in paths:
        with Image.open(path) as sheet:
            url = _data_url(sheet.convert("RGB"), "WEBP", quality=90)
        sheets.append((int(path.stem.removeprefix("step-")), url))
    return sheets


def _rows(
    pair: GeneratorPair, config: Config, data: dict[str, Any], side: str, most: int
) -> list[Row]:
    there, back = (pair.G_ab, pair.G_ba) if side == "a" else (pair.G_ba, pair.G_ab)
    own, other = (pair.info.a, pair.info.b) if side == "a" else (pair.info.b, pair.info.a)
    own_reading, other_reading = (config.a, config.b) if side == "a" else (config.b, config.a)
    others = {Path(p).stem: Path(p) for p in data["b" if side == "a" else "a"]["heldout"]}
    rows: list[Row] = []
    for path in map(Path, data[side]["heldout"]):
        if len(rows) == most:
            break
        picture = _read(path, own_reading, own, config)
        if picture is None:
            continue
        fake, rec = translate_there_and_back(there, back, picture, own, other, torch.device("cpu"))
        partner = others.get(path.stem)
        truth = _read(partner, other_reading, other, config) if partner else None
        difference = np.abs(rec.astype(np.float64) - picture).mean() * 2 / (own.high - own.low)
        rows.append(
            Row(
                path.name,
                _data_url(preview(picture, own)),
                _data_url(preview(fake, other)),
                _data_url(preview(rec, own)),
                _data_url(preview(truth, other)) if truth is not None else None,
                float(difference),
            )
        )
    return rows


def _read(
    path: Path, reading: DomainConfig, expected: PixelFormat, config: Config
) -> Pixels | None:
    """A held-out picture at the training size; None if it cannot be read any more."""
    try:
        picture = read_picture(path, reading, config.data.background)
    except DamagedPictureError:
        return None
    if (picture.shape[2], str(picture.dtype)) != (expected.channels, expected.dtype):
        return None
    return fit_for_looking(config.data, size_multiple(config.generator))(picture)


def _data_url(image: Image.Image, kind: str = "PNG", quality: int = 90) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
