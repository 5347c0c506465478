"""``strength``: a model that retouches changes pictures more, or less, than it has learned to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import Command, needs_vnni
from PIL import Image
from retouching import RETOUCH, saved

import diptych as package
from diptych.data import town
from diptych.errors import UsageError
from diptych.host.device import TranslatingPrecision
from diptych.network_config import GeneratorConfig
from diptych.web.models import load_models
from diptych.web.worker import Order, Worker


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("strength") / "model.safetensors", RETOUCH)


@pytest.mark.parametrize("options", [{}, {"tile": 16}, {"see": 32}], ids=str)
@pytest.mark.parametrize("strength", [0, 0.5, 1.7])
def test_the_change_grows_with_it(model: Path, options: dict[str, Any], strength: float) -> None:
    """Whole, by strips and from afar, both ways."""
    x = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(2)) * 0.2 - 0.1
    usual, other = (package.load(model, "cpu", strength=s, **options) for s in (1.0, strength))
    for one, more in ((usual.to_b(x), other.to_b(x)), (usual.to_a(x), other.to_a(x))):
        assert float((one - x).abs().mean()) > 0.01
        assert float((one - x).abs().max()) * 1.7 < 0.9  # (nothing is cut off at black and white)
        torch.testing.assert_close(more - x, strength * (one - x), atol=1e-5, rtol=1e-4)


def test_without_any_a_picture_stays(model: Path, tmp_path: Path, diptych: Command) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    for strength in ("0", "1"):
        out = tmp_path / strength
        done = diptych("translate", model, tmp_path / "x.png", "-o", out, "--strength", strength)
        assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "0" / "x.png")), pixels)
    assert (np.asarray(Image.open(tmp_path / "1" / "x.png")) != pixels).any()


def test_scores_are_of_it_and_not_kept(tmp_path: Path, diptych: Command) -> None:
    """Untouched pictures come back untouched, and score as such."""
    run = tmp_path / "run"
    settings = {
        "data": {"size": 16}, "training": {"steps": 1, "samples": 2},
        "generator": {"width": 4, "blocks": 0},
        "discriminator": {"width": 4, "layers": 1, "sees": None, "texture": False},
    }  # fmt: skip
    town.write_towns(tmp_path / "towns", train=4, test=8, size=32)
    package.train(data=tmp_path / "towns", run=run, preset="laptop", settings=settings)
    done = diptych("evaluate", run, "--strength", "0", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["strength"] == 0
    found = scores["to_b"]
    assert found["cycle"]["l1"] == found["identity_l1"] == 0
    distances = found["distances"]
    assert distances["translations"]["kid"]["value"] == distances["untouched"]["kid"]["value"]
    assert not (run / "evaluation.json").exists()


def test_an_exported_program_has_it(model: Path, tmp_path: Path, diptych: Command) -> None:
    done = diptych(
        "export", model, "-o", tmp_path, "--format", "torch", "--to", "b", "--strength", "0"
    )
    assert done.returncode == 0, done.stderr
    assert "It changes pictures 0 times as much" in (tmp_path / "README.md").read_text()
    (file,) = tmp_path.glob("*.pt2")
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(torch.export.load(file).module()(x), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "bf16", pytest.param("int8", marks=needs_vnni)])
def test_a_server_has_one_for_each_request(model: Path, precision: TranslatingPrecision) -> None:
    """Those of other strengths share no batch, and leave the model as it was."""
    (served,) = load_models([model], "cpu", 10**6, 0.5, precision).values()
    picture = np.random.default_rng(4).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    batches: list[int] = []
    worker = Worker(batch=8, on_batch=lambda count, seconds: batches.append(count))
    strengths = (served.strength, 2.0, 0.5, 0.0, 1.0)
    with worker.changed:  # all are there before the first is taken
        orders = [Order(served.translator, "b", True, picture, one) for one in strengths]
        made = [worker.submit(order) for order in orders]
    for strength, future in zip(strengths, made, strict=True):
        translated = future.result(timeout=LONGEST)
        alone = package.load(model, "cpu", strength=strength, precision=precision)
        (fake,) = alone.arrays([picture], "b")
        (rec,) = alone.arrays([fake], "a")
        assert translated.rec is not None
        for found, expected in ((translated.fake, fake), (translated.rec, rec)):
            assert np.abs(found.astype(int) - expected).max() <= 1
    worker.close()
    assert batches == [2, 1, 1, 1]


@pytest.mark.parametrize("strength", [-0.5, 10.5, float("nan"), float("inf"), "2", None])
def test_what_is_no_strength(model: Path, strength: Any) -> None:
    with pytest.raises(UsageError, match="from 0 to 10; 1 is as trained"):
        package.load(model, "cpu", strength=strength)


def test_a_model_that_paints_anew_has_none(tmp_path: Path, diptych: Command) -> None:
    painter = saved(tmp_path / "model.safetensors", GeneratorConfig(width=4, blocks=1))
    Image.new("RGB", (20, 20)).save(tmp_path / "x.png")
    request = ["translate", painter, tmp_path / "x.png", "-o", tmp_path / "out"]
    done = diptych(*request, "--strength", "1.5")
    assert done.returncode == 2
    assert done.stderr.startswith("diptych: strength 1.5: this model paints pictures anew; only")
    assert len(done.stderr.splitlines()) == 1
    assert diptych(*request, "--strength", "1").returncode == 0


def test_strength_is_of_what_the_model_does_with_its_own(tmp_path: Path) -> None:
    own = saved(tmp_path / "own.safetensors", RETOUCH.model_copy(update={"strength": 1.3}))
    plain = saved(tmp_path / "plain.safetensors", RETOUCH)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 0.2 - 0.1
    learned = package.load(plain, "cpu").to_b(x) - x
    for strength in (0.5, 1.0):
        change = package.load(own, "cpu", strength=strength).to_b(x) - x
        torch.testing.assert_close(change, 1.3 * strength * learned, atol=1e-5, rtol=1e-4)
