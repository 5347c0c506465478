"""What the variants are trained on and scored by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diptych.data import town
from diptych.data.domain import Folders, data_folders
from diptych.demo import HELDOUT_TOWNS, SIZE, TRAINING_TOWNS, measure
from diptych.scoring import Target, evaluate
from diptych.settings import Tree
from diptych.translation.translator import load

HORSE2ZEBRA = Path(__file__).parents[3] / "shared" / "data" / "horse2zebra"


@dataclass(frozen=True)
class Task:
    """``networks`` are the same for all variants, which may change them at equal cost."""

    name: str
    networks: Tree
    steps: int  # of the baseline
    scores: tuple[str, ...]  # the first decides
    higher_is_better: bool


def _horse2zebra(name: str, size: int, layers: int, steps: int) -> Task:
    """``layers`` are those of D."""
    networks: Tree = {
        "data": {"size": size},
        "generator": {"width": 32, "blocks": 6},
        "discriminator": {"width": 32, "layers": layers},
    }
    scores = ("KID x 1000 to zebra", "KID x 1000 to horse", "zebras", "cycle L1")
    return Task(name, networks, steps, scores, higher_is_better=False)


TASKS = {
    "towns": Task(
        "towns",
        {
            "data": {"size": SIZE, "preprocess": "resize"},
            "generator": {"width": 16, "blocks": 3},
            "discriminator": {"width": 16, "layers": 2},
        },
        1000,
        ("map accuracy", "aerial accuracy", "map L1", "aerial L1"),
        higher_is_better=True,
    ),
    "horse2zebra": _horse2zebra("horse2zebra", size=64, layers=2, steps=5000),
    "horse2zebra-128": _horse2zebra("horse2zebra-128", size=128, layers=3, steps=10000),
}


def folders(task: Task, place: Path = Path()) -> Folders:
    """The pictures of a task; towns are drawn into ``place``."""
    if task.name != "towns":
        return data_folders(HORSE2ZEBRA)
    towns = place / "towns"
    if not (towns / "testB").is_dir():
        town.write_towns(towns, TRAINING_TOWNS, HELDOUT_TOWNS, SIZE)
    return data_folders(towns)


def score(task: Task, run: Path) -> dict[str, float]:
    """The scores of a finished run, under the names in ``task.scores``; CUT has not all of them."""
    if task.name == "towns":
        found = measure(load(run, "cpu"))
        values = (found.map_accuracy, found.aerial_accuracy, found.map_l1, found.aerial_l1)
        return dict(zip(task.scores, values, strict=True))
    scores = evaluate(run, features="efficientnet-lite0", b=Target(classes=(340,)), device="cpu")
    to_b = scores.to_b.distances
    assert to_b is not None
    found = {
        "KID x 1000 to zebra": 1000 * to_b.translations.kid.value,
        "zebras": to_b.translations.recognised or 0.0,
    }
    if scores.to_a is not None and scores.to_a.distances is not None:
        found["KID x 1000 to horse"] = 1000 * scores.to_a.distances.translations.kid.value
    if scores.to_b.cycle is not None:
        found["cycle L1"] = scores.to_b.cycle.l1
    return found
