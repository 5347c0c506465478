"""The models that a server offers, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diptych.errors import DiptychError
from diptych.host.device import TranslatingPrecision
from diptych.network_config import SMALLEST
from diptych.sides import Side
from diptych.training.run_folder import RunFolder
from diptych.translation.strength import check_strength
from diptych.translation.translator import Translator, load
from diptych.words import printable

LONG = 16 / 9  # times their width: so long photographs are, and films
SAYS_NOTHING = {"", "a", "b", "traina", "trainb", "testa", "testb", "images", "pictures", "train"}


@dataclass(frozen=True)
class ServedModel:
    """One model, and what its run folder, if it is one, tells about it."""

    name: str
    translator: Translator
    domains: dict[Side, str]  # names for people: "A", or the name of the folder
    strength: float  # unless another is asked for
    heldout: dict[Side, list[Path]] = field(default_factory=dict)

    @property
    def ways(self) -> tuple[Side, ...]:
        """The domains that it can translate to."""
        return self.translator.pair.ways

    @property
    def retouches(self) -> bool:
        """Whether it changes pictures, and can do so more or less strongly."""
        return self.translator.info.retouches


def load_models(
    paths: Sequence[Path],
    device: str,
    network_pixels: int,
    strength: float = 1.0,
    precision: TranslatingPrecision = "float32",
) -> dict[str, ServedModel]:
    """The models at ``paths`` (run folders or model files) by name, in that order.

    A model has the name of its run folder or file. One that sees large pictures from afar is shown
    no more than ``network_pixels`` of usual ones. ``strength`` is for requests that name none.
    ``precision`` as ``load`` takes it. Raises DiptychError as ``load`` does, UsageError for a
    strength that a model cannot have.
    """
    models: dict[str, ServedModel] = {}
    for path in paths:
        # (strips may be kept in files)
        translator = load(path, device, tile="off", precision=precision)
        check_strength(strength, translator.info)
        most = _most_seen(translator, network_pixels)
        if translator.sees is not None and translator.sees > most >= SMALLEST:
            translator = Translator(translator.pair, translator.device, "off", precision, see=most)
        stem = path.resolve().name if path.is_dir() else path.resolve().stem
        stem = printable(stem)  # (names of files may hold bytes that are no text)
        name, number = stem, 2
        while name in models:
            name, number = f"{stem}-{number}", number + 1
        models[name] = _served(name, translator, path, strength)
    return models


def _most_seen(translator: Translator, network_pixels: int) -> int:
    """The shorter side of the largest long photograph that is not too much for the network."""
    side = math.isqrt(int(network_pixels / LONG))
    while math.prod(translator.taken(side, math.ceil(side * LONG))) > network_pixels and side:
        side -= 1
    return side


def _served(name: str, translator: Translator, path: Path, strength: float) -> ServedModel:
    plain: dict[Side, str] = {"a": "A", "b": "B"}
    if not path.is_dir():
        return ServedModel(name, translator, plain, strength)
    run = RunFolder(path)
    try:
        data, folders = run.data(), run.folders()
    except DiptychError:  # a folder with nothing but the model
        return ServedModel(name, translator, plain, strength)
    named: dict[Side, str] = {"a": printable(folders.a.name), "b": printable(folders.b.name)}
    telling = all(one.lower() not in SAYS_NOTHING for one in named.values())
    heldout: dict[Side, list[Path]] = {
        "a": [Path(one) for one in data["a"]["heldout"]],
        "b": [Path(one) for one in data["b"]["heldout"]],
    }
    domains = named if telling and named["a"] != named["b"] else plain
    return ServedModel(name, translator, domains, strength, heldout)
