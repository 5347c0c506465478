"""Trainings that went wrong are noticed, one warning for each; good ones are left in peace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from diptych.config import Config
from diptych.data.pixels import RGB, PixelFormat
from diptych.model_file import ModelInfo
from diptych.network_config import GeneratorConfig
from diptych.training.health import LONG, Health
from diptych.training.samples import Translated

INFO = ModelInfo(GeneratorConfig(), RGB, RGB, 32, "resize", "white", 1000)
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8) // 64 * 40 + 50 for _ in range(6)]
COLOURED = [(p * [1.0, 0.6, 0.4]).astype(np.uint8) for p in PICTURES]  # as it should be
REAL: Any = {"a": PICTURES, "b": COLOURED}
NOISE = [RNG.integers(0, 3, p.shape).astype(np.uint8) for p in PICTURES]

CASES: list[tuple[str, Any, str]] = [
    ("one picture for all", [PICTURES[0] + noise for noise in NOISE], "look alike"),
    ("inverted", [255 - picture for picture in PICTURES], "colours are inverted"),
    ("nothing done", [p + n for p, n in zip(PICTURES, NOISE, strict=True)], "nearly as it is"),
]


def made(fakes: list[Any], there: bool = True) -> Any:
    good = [Translated(p, c, None) for p, c in zip(PICTURES, COLOURED, strict=True)]
    bad = [Translated(p, f, None) for p, f in zip(PICTURES, fakes, strict=True)]
    return {"b": bad, "a": bad if there else good}


@pytest.mark.parametrize(("name", "fakes", "words"), CASES, ids=lambda x: str(x)[:20])
def test_a_planted_fault_is_named_once(name: str, fakes: list[Any], words: str) -> None:
    health = Health(Config())
    lines = health.look_at_pictures(0.5, made(fakes), REAL, INFO)
    assert lines
    assert all(words in line for line in lines)
    assert all("loss." in line for line in lines)  # something to try
    assert not health.look_at_pictures(0.6, made(fakes), REAL, INFO)  # said already
    just_begun = replace(INFO, step=99)
    assert not Health(Config()).look_at_pictures(0.5, made(fakes), REAL, just_begun)


def test_cut_is_told_of_its_own_settings() -> None:
    health = Health(Config(method="cut"))
    (line,) = health.look_at_pictures(0.5, {"b": made(CASES[2][1])["b"]}, REAL, INFO)
    assert "contrast.source (it is 1)" in line
    assert "loss.cycle" not in line


@pytest.mark.parametrize(("output", "named"), [("retouch", True), ("picture", False)])
def test_what_fades_is_named_where_it_does(output: str, named: bool) -> None:
    generator = {"output": output, "least_change": 0.05}
    health = Health(Config.model_validate({"generator": generator}))
    (line,) = health.look_at_pictures(0.5, made(CASES[2][1]), REAL, INFO)
    assert ("generator.least_change (it is 0.05)" in line) == named


def test_advice_names_no_loss_that_is_off() -> None:
    """Between grey pictures and colours nothing can be held to its source but by the cycle."""
    grey = [picture[..., :1] for picture in PICTURES]
    info = replace(INFO, a=PixelFormat(1, "uint8", 0.0, 255.0))
    there = [Translated(g, 255 - c, None) for g, c in zip(grey, COLOURED, strict=True)]
    (line,) = Health(Config()).look_at_pictures(0.5, {"b": there}, {"b": COLOURED}, info)
    assert "loss.cycle" in line
    assert "loss.identity" not in line


def test_a_good_training_hears_nothing() -> None:
    health = Health(Config())
    assert not health.look_at_pictures(0.5, made(COLOURED), REAL, INFO)
    assert not health.look_at_pictures(
        0.01, made(CASES[2][1]), REAL, INFO
    )  # early on nothing is normal
    assert not health.look_at_pictures(
        0.5, made(CASES[2][1], there=False), REAL, INFO
    )  # one way only
    assert not health.look_at_pictures(0.5, {"b": [], "a": []}, REAL, INFO)
    for step in range(0, 5 * LONG, 50):
        assert not health.look_at_losses(step, {"D_a": 0.2, "D_b": 0.005 if step % 500 else 0.1})


def fakes_like(share: float) -> list[Any]:
    """Its share of each picture's own brightness; what is left is chance."""
    rng = np.random.default_rng(1)
    chance = [rng.normal(0, 1, (8, 8, 1)) for _ in PICTURES]
    own = [(p - p.mean()) / p.std() for p in PICTURES]
    mixed = [share * p + (1 - share**2) ** 0.5 * c for p, c in zip(own, chance, strict=True)]
    return [(128 + 40 * one).clip(0, 255).astype(np.uint8) for one in mixed]


def test_how_much_is_too_much() -> None:
    def words(fakes: list[Any], progress: float = 0.5) -> str:
        return " ".join(Health(Config()).look_at_pictures(progress, made(fakes), REAL, INFO))

    assert "inverted" in words(fakes_like(-0.6))
    assert "inverted" not in words(fakes_like(-0.1))
    assert "nearly as it is" in words(CASES[2][1], 0.2)
    assert "nearly as it is" in words([p + np.uint8(2) for p in PICTURES])  # 0.016 of 2
    assert "nearly as it is" not in words([p + np.uint8(3) for p in PICTURES])  # 0.024
    fainter = [PICTURES[0] // 2 + p // 5 for p in PICTURES]
    assert "look alike" not in words(fainter)  # a fifth of the variety is left
    for loss, steps, said in ((0.005, 900, False), (0.005, 1100, True), (0.03, 5000, False)):
        health = Health(Config())
        found = [health.look_at_losses(n, {"D_a": loss}) for n in range(0, steps, 50)]
        assert any(found) == said, (loss, steps)


def test_true_translations_are_left_in_peace() -> None:
    """Into colours of the same brightness, and into maps that are nearly all paper."""
    exchanged = [picture[..., [2, 0, 1]] + np.uint8(0) for picture in COLOURED]
    maps = []
    for i in range(6):
        maps.append(np.full((32, 32, 3), 250, np.uint8))
        maps[-1][5 * i : 5 * i + 2, 4] = 0
    photos = [np.kron(picture, np.ones((4, 4, 1), np.uint8)) for picture in PICTURES]
    for sources, targets in ((COLOURED, exchanged), (photos, maps)):
        there = [Translated(x, y, None) for x, y in zip(sources, targets, strict=True)]
        back = [Translated(y, x, None) for x, y in zip(sources, targets, strict=True)]
        real: Any = {"a": sources, "b": targets}
        assert not Health(Config()).look_at_pictures(0.5, {"b": there, "a": back}, real, INFO)
        alike = [Translated(x, maps[0], None) for x in photos]
    assert Health(Config()).look_at_pictures(0.5, {"b": alike}, real, INFO)


@pytest.mark.parametrize("adversarial", ["lsgan", "wgangp"])
def test_a_discriminator_that_has_won_for_long_is_named(adversarial: str) -> None:
    health = Health(Config.model_validate({"loss": {"adversarial": adversarial}}))
    said = {
        step: lines
        for step in range(50, 3 * LONG, 50)
        if (lines := health.look_at_losses(step, {"D_a": 0.2, "D_b": 0.001}))
    }
    if adversarial == "wgangp":  # its losses mean something else
        assert not said
    else:
        ((step, (line,)),) = said.items()
        assert step == 50 + LONG
        assert line.startswith("D_b has been at zero loss")


@pytest.mark.parametrize(("to", "other"), ["ab", "ba"])
def test_the_domain_is_named_whose_pictures_are_wrong(to: str, other: str) -> None:
    dark, good = made([255 - picture for picture in PICTURES], there=False).values()
    alike = [replace(one, fake=dark[0].fake) for one in good]
    real: Any = {to: COLOURED, other: COLOURED}
    for fakes, word in ((dark, "are dark"), (alike, "look alike")):
        (line,) = Health(Config()).look_at_pictures(0.5, {to: fakes, other: good}, real, INFO)
        assert word in line
        assert f" to {to.upper()} " in line
        assert f" to {other.upper()} " not in line


def test_what_keeps_colours_is_named_where_they_are_inverted() -> None:
    fakes = [255 - picture for picture in PICTURES]
    (line, _) = Health(Config()).look_at_pictures(0.5, made(fakes), REAL, INFO)
    assert "Raise loss.identity (it is 5)" in line
    assert "loss.cycle" not in line


def test_one_inverted_picture_among_six_is_no_fault() -> None:
    fakes = [255 - PICTURES[0], *COLOURED[1:]]
    assert Health(Config()).look_at_pictures(0.5, made(fakes, there=False), REAL, INFO) == []
