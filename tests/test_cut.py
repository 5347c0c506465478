"""CUT against the paper's formulas written out in float64, and what one-way models can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, TINY_OPTIONS, Command
from torch import Tensor

import diptych as package
from diptych.cut import CUT, choose_places, nce
from diptych.errors import UsageError
from diptych.losses import plain_l1
from diptych.settings import build_config, merge
from diptych.training.run_folder import RunFolder


def patch_nce_by_hand(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """Park et al., 2020, eq. 3, one query at a time: -log(e^(v.v+/t) / (e^(v.v+/t) + sum...))."""
    losses = []
    for query, key in zip(queries, keys, strict=True):
        for i in range(len(query)):
            alike = key @ query[i] / temperature
            losses.append(-(alike[i] - torch.log(alike.exp().sum())))
    return float(torch.stack(losses).mean())


def test_patch_nce_is_the_papers() -> None:
    torch.manual_seed(0)
    queries, keys = torch.nn.functional.normalize(
        torch.randn(2, 3, 17, 8, dtype=torch.float64), dim=3
    )
    expected = patch_nce_by_hand(queries, keys, 0.07)
    assert float(nce(queries, keys, 0.07)) == pytest.approx(expected, rel=1e-12)
    assert float(nce(keys, keys, 0.07)) < 0.1 < expected  # each patch finds itself


def cut(
    method: str, norm_of_D: str = "instance", **contrast: Any
) -> tuple[Any, CUT, Tensor, Tensor]:
    torch.manual_seed(1)
    generator, contrast = {"width": 4, "blocks": 6}, {"patches": 10**6, **contrast}
    config = build_config(
        merge(
            TINY,
            {
                "method": method,
                "generator": generator,
                "discriminator": {"norm": norm_of_D},
                "contrast": contrast,
            },
        )
    )
    model = CUT(config, 3, 3).double()
    a, b = torch.rand(2, 2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    return config, model, a, b


def by_hand(
    model: CUT, fake: Tensor, source: Tensor, temperature: float, flip: bool = False
) -> Tensor:
    """PatchNCE over all patches, layer by layer, features taken with hooks, not ``features``."""
    G = model.G_ab
    watched = [G.encode[4], G.encode[7], G.transform[0], G.transform[4]]

    def features(x: Tensor) -> list[Tensor]:
        seen: list[Tensor] = [x]
        handles = [
            layer.register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))
            for layer in watched
        ]
        G(x)
        for handle in handles:
            handle.remove()
        return seen

    losses = []
    for query, key, H in zip(features(fake), features(source), model.H, strict=True):
        query = query.flip(3) if flip else query
        unit = [torch.nn.functional.normalize(H(f.flatten(2).mT), dim=2) for f in (query, key)]
        losses.append(patch_nce_by_hand(unit[0], unit[1].detach(), temperature))
    return torch.tensor(losses, dtype=torch.float64).mean()


@pytest.mark.parametrize("contrast", [{}, {"source": 2.0, "target": 3.0, "temperature": 0.2}])
def test_generator_loss_is_the_papers(contrast: dict[str, float]) -> None:
    config, model, a, b = cut("cut", **contrast)
    usual = {"source": 1.0, "target": 1.0, "temperature": 0.07}
    source, target, temperature = {**usual, **contrast}.values()
    with torch.no_grad():
        loss, terms, fakes = model.generator_loss(a, b, config.loss)
        fake, same = model.G_ab(a), model.G_ab(b)
        expected = ((model.D_b(fake) - 1) ** 2).mean()
        expected = expected + source * by_hand(model, fake, a, temperature)
        expected = expected + target * by_hand(model, same, b, temperature)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(fakes["b"], fake)
    assert set(terms) == {"G_ab/adversarial", "contrast_a", "contrast_b"}


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_discriminator_loss_is_the_papers(norm: str) -> None:
    config, model, a, b = cut("cut", norm)
    past = torch.rand_like(b) * 2 - 1
    weights = config.loss.model_copy(update={"discriminator": 0.25})
    loss, terms = model.discriminator_loss(a, b, {"b": past}, weights)
    expected = ((model.D_b(b) - 1) ** 2).mean() + (model.D_b(past) ** 2).mean()
    torch.testing.assert_close(terms["D_b"], expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(loss, 0.25 * expected, rtol=1e-12, atol=0)


def test_fastcut_weighs_and_mirrors() -> None:
    config, model, a, b = cut("fastcut")
    a, weights = 0.02 * a, config.loss.model_copy(update={"plain": 2.0})
    seen = set()
    with torch.no_grad():
        for _ in range(12):
            loss, terms, fakes = model.generator_loss(a, b, weights)
            mirrored = torch.equal(fakes["b"], model.G_ab(a.flip(3)))
            fake = fakes["b"].flip(3) if mirrored else fakes["b"]
            assert mirrored or torch.equal(fake, model.G_ab(a))
            if mirrored not in seen:  # (by hand it takes a while)
                contrast = by_hand(model, fakes["b"], a, config.contrast.temperature, mirrored)
                torch.testing.assert_close(terms["contrast_a"], contrast, rtol=1e-9, atol=0)
            seen.add(mirrored)
            assert set(terms) == {"G_ab/adversarial", "contrast_a", "plain_a"}
            torch.testing.assert_close(terms["plain_a"], plain_l1(fake, a), rtol=1e-9, atol=0)
            expected = terms["G_ab/adversarial"] + 10 * terms["contrast_a"] + 2 * terms["plain_a"]
            torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert seen == {True, False}


def test_pictures_of_the_target_are_compared_as_they_are() -> None:
    config, model, a, b = cut("fastcut", target=1.0)
    mirrored = set()
    with torch.no_grad():
        expected = by_hand(model, model.G_ab(b), b, config.contrast.temperature)
        for _ in range(6):
            _, terms, fakes = model.generator_loss(a, b, config.loss)
            torch.testing.assert_close(terms["contrast_b"], expected, rtol=1e-9, atol=0)
            mirrored.add(torch.equal(fakes["b"], model.G_ab(a.flip(3))))
    assert mirrored == {True, False}


def test_keys_take_no_gradient_and_queries_do() -> None:
    _, model, a, b = cut("cut")
    source, fake = a.clone().requires_grad_(), b.clone().requires_grad_()
    model.patch_nce(fake, source, flip=False).backward()
    assert source.grad is None
    assert fake.grad is not None
    assert float(fake.grad.abs().sum()) > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.H.parameters())


def test_patches_are_drawn_from_the_whole_picture_anew_each_time() -> None:
    layer = torch.zeros(1, 1, 40, 40)
    draws = [choose_places(layer, 16).tolist() for _ in range(100)]
    assert all(len(set(draw)) == 16 for draw in draws)
    assert draws[0] != draws[1]
    seen = [place for draw in draws for place in draw]
    assert min(seen) < 600
    assert 1000 < max(seen) < 1600


@pytest.fixture(scope="module")
def one_way(
    towns: Path, diptych: Command, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A tiny run of each method."""
    runs = {}
    for method in ("cut", "fastcut"):
        runs[method] = tmp_path_factory.mktemp("one-way") / method
        done = diptych(
            "train", "--data", towns, "--run", runs[method], "--method", method, *TINY_OPTIONS,
            "--steps", "6", "--set", "training.history=3",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return runs


def test_nothing_is_read_for_a_way_that_there_is_not(one_way: dict[str, Path]) -> None:
    translator = package.load(one_way["cut"], "cpu")
    with pytest.raises(UsageError, match="from A to B only"):
        translator.decode(b"", "a")
    with pytest.raises(UsageError, match="from A to B only"):
        translator.read(Path("x.png"), "a")


def test_every_command_works_one_way_and_refuses_the_other(
    one_way: dict[str, Path], towns: Path, diptych: Command, tmp_path: Path
) -> None:
    run = one_way["cut"]
    there = diptych("translate", run, towns / "testA", "-o", tmp_path / "b")
    assert there.returncode == 0, there.stderr
    assert len(list((tmp_path / "b").iterdir())) == 4
    back = diptych("translate", run, towns / "testB", "--to", "a", "-o", tmp_path / "a")
    assert back.returncode == 2
    assert "from A to B only" in back.stderr
    assert len(back.stderr.splitlines()) == 1
    with pytest.raises(UsageError, match="from A to B only"):
        package.load(run).to_a(towns / "testB" / "town-0020.png")

    scored = diptych("evaluate", run, "--json")
    assert scored.returncode == 0, scored.stderr
    found = json.loads(scored.stdout)
    assert found["to_a"] is None
    assert found["to_b"]["cycle"] is None
    assert found["to_b"]["paired"]["l1"] > 0
    other = diptych("evaluate", run, "--classifier-a", "340")
    assert other.returncode == 2
    assert "from A to B only" in other.stderr

    assert diptych("report", run).returncode == 0
    page = (run / "report.html").read_text()
    assert "PatchNCE" in page
    assert "A to B" in page
    assert "B to A" not in page
    compared = diptych("compare", run, one_way["fastcut"], "-o", tmp_path / "both.html")
    assert compared.returncode == 0, compared.stderr
    assert "B to A" not in compared.stdout


def test_both_domains_need_as_many_channels(towns: Path, tmp_path: Path, diptych: Command) -> None:
    options = ["--data", towns, "--run", tmp_path / "run", *TINY_OPTIONS, "--steps", "1"]
    done = diptych("train", *options, "--method", "cut", "--set", "a.channels=1")
    assert done.returncode == 2
    assert "needs as many channels in A as in B" in done.stderr


def test_fastcut_may_be_adjusted(one_way: dict[str, Path]) -> None:
    contrast = RunFolder(one_way["fastcut"]).config().contrast
    assert (contrast.source, contrast.target, contrast.flip) == (10, 0, True)
    changed = build_config({"method": "fastcut", "contrast": {"source": 3}}).contrast
    assert (changed.source, changed.target, changed.flip) == (3, 0, True)
    with pytest.raises(UsageError, match="resnet"):
        build_config({"method": "cut", "generator": {"architecture": "unet"}})
