"""Both ways of CycleGAN as one network: the same losses and gradients, in half as many calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from pictures import domain_in_memory

from diptych.config import Config
from diptych.cyclegan import CycleGAN
from diptych.settings import build_config, merge
from diptych.training.run_folder import RunFolder
from diptych.training.side_by_side import MOST, SideBySide, pays
from diptych.training.trainer import Trainer
from diptych.training.working_copy import paired_copy

KINDS: dict[str, dict[str, Any]] = {
    "paper": {"loss": {"cycle": 7, "identity": 3}},
    "group norm": {
        "generator": {"norm": "group", "upsample": "resize", "output": "retouch"},
        "discriminator": {"norm": "group", "texture": True, "fine": True, "padding": False},
        "loss": {"identity": 0, "adversarial": "bce"},
    },
    "no norm": {
        "generator": {"norm": "none", "upsample": "antialias", "downsample": "antialias"},
        "discriminator": {"norm": "none", "architecture": "pixel"},
        "training": {"batch": 3},
    },
}


def config_of(kind: str) -> Config:
    return build_config(merge(TINY, KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_the_two_ways(kind: str) -> None:
    """In float64, where nothing but the order of summation can differ."""
    torch.manual_seed(0)
    config = config_of(kind)
    model = CycleGAN(config, 3, 3).double()
    with torch.no_grad():
        for p in model.parameters():  # larger than the start, so that no term is nearly zero
            p.mul_(8).add_(torch.randn_like(p), alpha=0.02)
    together = SideBySide(model)
    a, b, past_a, past_b = torch.rand(4, config.training.batch, 3, 32, 32).double() * 2 - 1
    past = {"a": past_a, "b": past_b}

    found = {}
    for one in (model, together):
        loss_G, terms_G, fakes = one.generator_loss(a, b, config.loss)
        loss_D, terms_D = one.discriminator_loss(a, b, past, config.loss)
        (loss_G + loss_D).backward()
        found[one] = [loss_G, *terms_G.values(), loss_D, *terms_D.values(), *fakes.values()]
    for ours, theirs in zip(found[together], found[model], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

    pairs = (together.G, model.G_ab, model.G_ba), (together.D, model.D_a, model.D_b)
    for pair, *ways in pairs:
        for p, *own in zip(pair.parameters(), *(way.parameters() for way in ways), strict=True):
            expected = torch.cat([q.grad for q in own])
            torch.testing.assert_close(p.grad, expected, rtol=1e-8, atol=1e-11)


def test_the_pair_follows_the_model_and_hands_each_way_its_gradient() -> None:
    config = config_of("paper")
    model = CycleGAN(config, 3, 3)
    copy = paired_copy(model, torch.bfloat16)
    layer = copy.model.get_submodule("G.both.encode.1")
    assert layer.weight.dtype == torch.bfloat16
    with torch.no_grad():
        model.G_ab.encode[1].weight.fill_(0.5)
        model.G_ba.encode[1].weight.fill_(2)
    copy.refresh()
    first, second = layer.weight.chunk(2)
    assert (first == 0.5).all()
    assert (second == 2).all()
    for size in (1.0, 2.0**-10):  # (in bf16 their sum would be 1)
        (size * (first.sum() + 3 * second.sum())).backward(retain_graph=True)
        copy.hand_over_gradients()
    assert (model.G_ab.encode[1].weight.grad == 1 + 2.0**-10).all()
    assert (model.G_ba.encode[1].weight.grad == 3 * (1 + 2.0**-10)).all()
    assert model.D_a.body[0].weight.grad is None


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_small_networks_train_side_by_side(precision: str) -> None:
    pictures = [domain_in_memory(6, 36, seed) for seed in (0, 100)]
    config = build_config(merge(TINY, {"training": {"precision": precision}}))
    training = Trainer(config, RunFolder(Path("nowhere")), *pictures, torch.device("cpu"))
    assert isinstance(training.stepper.working_copy.model, SideBySide)  # type: ignore[union-attr]
    before = {name: p.clone() for name, p in training.state.model.named_parameters()}
    training.step()
    for name, p in training.state.model.named_parameters():
        assert p.dtype == torch.float32
        if name.endswith("weight"):
            assert not torch.equal(p, before[name]), name


@pytest.mark.parametrize(
    "sections",
    [
        {"generator": {"architecture": "unet", "levels": 3}},
        {"generator": {"norm": "pixel"}},
        {"generator": {"norm": "batch"}},
        {"discriminator": {"norm": "spectral"}},
        {"discriminator": {"augment": True}},
        {"loss": {"r1": 1}},
        {"loss": {"adversarial": "wgangp"}},
        {"loss": {"cycle_features": 0.5}},
        {"data": {"preprocess": "none"}},
        {"training": {"batch": MOST[torch.float32]}},
    ],
    ids=str,
)
def test_what_cannot_be_paired_is_not(sections: dict[str, Any]) -> None:
    settings = TINY
    for expected in (True, False):
        config = build_config(settings)
        assert pays(config, CycleGAN(config, 3, 3), torch.float32) is expected
        settings = merge(TINY, sections)


def test_domains_of_different_channels_and_fp16_are_not_paired() -> None:
    config = build_config(TINY)
    assert not pays(config, CycleGAN(config, 1, 3), torch.float32)
    assert not pays(config, CycleGAN(config, 3, 3), torch.float16)


def test_a_pair_in_16_bits_that_changes_nothing_changes_nothing() -> None:
    """What is retouched is the picture itself, and not its rounded values."""
    config = build_config(
        {
            "generator": {"width": 4, "blocks": 1, "output": "retouch", "norm": "group"},
            "discriminator": {"width": 4, "layers": 2},
            "training": {"steps": 1},
        }
    )
    model = CycleGAN(config, 3, 3)
    for G in model.generators:
        for weight in G.decode[-1].parameters():
            weight.data.zero_()
    copy = paired_copy(model, torch.bfloat16)
    copy.refresh()
    a, b = torch.randint(0, 256, (2, 2, 3, 32, 32)) / 127.5 - 1
    fake_b, fake_a = copy.model.translate(a, b)
    assert torch.equal(fake_b, a)
    assert torch.equal(fake_a, b)
