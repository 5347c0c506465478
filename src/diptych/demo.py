"""The demo: learn map <-> aerial picture on built-in towns, and measure it against the truth."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.config import Config
from diptych.data import town
from diptych.data.domain import data_folders
from diptych.data.pixels import RGB
from diptych.host.files import explain_os_errors, replace, write_whole
from diptych.settings import Tree
from diptych.training.choice import make_config
from diptych.training.run_folder import RunFolder
from diptych.training.session import Listener
from diptych.training.start import start_run
from diptych.translation.translator import Translator, load

TRAINING_TOWNS = 500  # of each domain, all different
HELDOUT_TOWNS = 100
SIZE = 64  # pixels a side

COLUMNS = ["direction", "pixels of the right class", "L1 to the truth"]
SETTINGS: Tree = {
    "data": {"size": SIZE, "preprocess": "resize"},
    "generator": {"width": 16, "halvings": 1, "blocks": 3},  # (streets are a few pixels wide)
    "discriminator": {"width": 16, "layers": 2},
    "optimizer": {"rate": 1e-3},
    "training": {
        "ema_half_life": 100,
        "log_every": 20,
        "sample_every": 100,
        "checkpoint_every": 500,
    },
}


@dataclass(frozen=True)
class Scores:
    """How well held-out towns are translated, against drawings of the same towns."""

    map_accuracy: float  # share of pixels whose nearest map colour is the true class
    class_accuracy: dict[str, float]  # the same for each class
    map_l1: float  # mean|fake - truth| in [-1, 1] units
    aerial_l1: float
    aerial_accuracy: float  # share of pixels of fake aerial pictures read as the true class
    aerial_ceiling: float  # the same reader on true aerial pictures
    towns: int


def demo_config(minutes: float, seed: int, device: str) -> Config:
    """The ``repaint`` preset, smaller: 64 px towns need no more."""
    training = {**SETTINGS["training"], "minutes": minutes, "seed": seed, "device": device}
    return make_config("repaint", settings={**SETTINGS, "training": training})


def run_demo(run: RunFolder, minutes: float, seed: int, device: str, listener: Listener) -> Scores:
    """Draw the towns, train, measure; the run folder holds everything, scores.json included."""
    config = demo_config(minutes, seed, device)
    run.check_free()
    towns = run.path.absolute().parent / "demo-towns"  # of all demos, which can be compared then
    if not towns.is_dir():
        _draw(towns)
    start_run(data_folders(towns), run, config, listener)
    scores = measure(load(run.path, device))
    write_scores(run, scores)
    return scores


def _draw(towns: Path) -> None:
    """Make the folder ``towns``, whole or not at all."""
    aside = towns.with_name(f".{towns.name}-{os.getpid()}.partial")
    with explain_os_errors(f"write {towns}"):
        try:
            town.write_towns(aside, TRAINING_TOWNS, HELDOUT_TOWNS, SIZE)
            replace(aside, towns)
        except OSError:
            if not towns.is_dir():  # (else another demo was faster)
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def measure(translator: Translator) -> Scores:
    """Translate held-out towns both ways and compare with the other drawing of each."""
    first = 2 * TRAINING_TOWNS  # numbers below were trained on
    plans = [town.plan_town(first + i, SIZE) for i in range(HELDOUT_TOWNS)]
    classes = np.stack([town.draw_classes(plan) for plan in plans])
    maps = np.stack([town.draw_map(plan) for plan in plans])
    aerials = np.stack([town.draw_aerial(plan) for plan in plans])
    fake_maps = np.concatenate([translator.arrays(part, "b") for part in np.split(aerials, 10)])
    fake_aerials = np.concatenate([translator.arrays(part, "a") for part in np.split(maps, 10)])
    right = town.read_map(fake_maps) == classes
    return Scores(
        float(right.mean()),
        {name: float(right[classes == i].mean()) for i, name in enumerate(town.CLASSES)},
        RGB.l1(fake_maps, maps),
        RGB.l1(fake_aerials, aerials),
        float((town.read_aerial(fake_aerials) == classes).mean()),
        float((town.read_aerial(aerials) == classes).mean()),
        HELDOUT_TOWNS,
    )


def write_scores(run: RunFolder, scores: Scores) -> None:
    """``scores.json``: the numbers, and the table that the report shows."""
    table = {
        "step": int(run.read_metrics()[-1]["step"]),
        "title": "Against the truth",
        "columns": COLUMNS,
        "rows": score_rows(scores),
        "note": (
            f"Computed on {scores.towns} held-out towns, drawn both ways; the training saw other "
            "towns, and no pairs. A pixel's class on a map is that of the nearest map colour; on "
            "an aerial picture that of the nearest typical ground colour, a reader that is right "
            f"for {scores.aerial_ceiling:.1%} of the pixels of true aerial pictures."
        ),
        "scores": vars(scores),
    }
    write_whole(run.demo_scores, json.dumps(table, indent=1))


def score_rows(scores: Scores) -> list[list[str]]:
    """A row of ``COLUMNS`` for each direction."""
    return [
        ["aerial to map", f"{scores.map_accuracy:.1%}", f"{scores.map_l1:.3f}"],
        [
            "map to aerial",
            f"{scores.aerial_accuracy:.1%} (true pictures: {scores.aerial_ceiling:.1%})",
            f"{scores.aerial_l1:.3f}",
        ],
    ]


def free_run(parent: Path) -> RunFolder:
    """``parent/demo``, or the first of demo-2, demo-3 ... that is free."""
    number = 1
    while (path := parent / ("demo" if number == 1 else f"demo-{number}")).exists():
        number += 1
    return RunFolder(path)
