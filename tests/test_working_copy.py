"""Training in bf16 on the CPU: convolutions of a twin in bf16, everything else the model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from pictures import domain_in_memory
from torch import nn

from diptych.networks import Discriminator, make_generator
from diptych.settings import build_config, merge
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer
from diptych.training.working_copy import copy_in_bf16


def a_model() -> nn.Sequential:
    """A convolution between layers of other kinds."""
    return nn.Sequential(
        nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 1)
    )


def test_only_convolutions_have_weights_of_their_own() -> None:
    model = a_model()
    twin = copy_in_bf16(model).model
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        theirs = twin.state_dict(keep_vars=True)[name]
        if name.startswith("1."):
            assert theirs.dtype == torch.bfloat16
            torch.testing.assert_close(theirs.float(), tensor, rtol=2**-8, atol=0)
        else:
            assert theirs is tensor
    assert twin[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_the_twin_follows_the_model() -> None:
    model = a_model()
    copy = copy_in_bf16(model)
    with torch.no_grad():
        model[1].weight.fill_(0.5)
        model[4].bias.fill_(2)
    copy.refresh()
    assert (copy.model[1].weight == 0.5).all()
    assert (copy.model[4].bias == 2).all()


def test_gradients_of_several_passes_add_up_in_float32() -> None:
    """In bf16, 1 + 2^-10 would be 1."""
    model = a_model()
    copy = copy_in_bf16(model)
    for size in (1.0, 2.0**-10):
        copy.refresh()
        twin = copy.model
        (size * (twin[1].bias.sum() + twin[4].bias.sum())).backward()
        copy.hand_over_gradients()
        assert twin[1].bias.grad is None
    for layer in (model[1], model[4]):
        assert (layer.bias.grad == 1 + 2.0**-10).all()
    assert model[1].weight.grad is None


def test_under_spectral_norm_a_layer_stays_as_it_is() -> None:
    """Its weight is computed anew in each pass, from estimates that go on from pass to pass."""
    config = build_config(merge(TINY, {"discriminator": {"norm": "spectral"}}))
    D = Discriminator(config.discriminator, 3)
    twin = copy_in_bf16(nn.Sequential(D, nn.Conv2d(1, 1, 1))).model[0]
    x = torch.rand(1, 3, 32, 32)
    before = {name: value.clone() for name, value in D.named_buffers()}
    twin(x)
    assert any(not torch.equal(value, before[name]) for name, value in D.named_buffers())
    assert torch.equal(twin.eval()(x), D.eval()(x))


@pytest.mark.parametrize(
    "sections",
    [
        {"generator": {"norm": "group", "upsample": "resize", "output": "retouch"},
         "discriminator": {"norm": "group", "texture": True, "fine": True}},
        {"generator": {"norm": "batch", "upsample": "antialias", "downsample": "antialias"},
         "discriminator": {"norm": "batch", "augment": True}, "loss": {"adversarial": "bce"}},
        {"generator": {"norm": "pixel", "dropout": 0.5}, "loss": {"r1": 1, "identity": 0},
         "discriminator": {"norm": "spectral"}},
        {"generator": {"architecture": "unet", "levels": 3}, "loss": {"adversarial": "wgangp"}},
        {"generator": {"architecture": "mobile"}, "discriminator": {"architecture": "pixel"},
         "loss": {"cycle_features": 0.5}},
        {"method": "cut", "training": {"accumulate": 2}},
        {"method": "fastcut", "generator": {"norm": "none"}, "training": {"batch": 2}},
    ],
    ids=["group", "batch", "pixel", "unet", "mobile", "cut", "fastcut"],
)  # fmt: skip
def test_every_network_and_loss_learns_in_bf16(sections: dict[str, Any]) -> None:
    """As in float32: nearly the same losses in the first step, gradients for the same weights."""
    pictures = [domain_in_memory(6, 36, seed) for seed in (0, 100)]
    trainings = []
    for precision in ("float32", "bf16"):
        training = {**sections.get("training", {}), "precision": precision}
        config = build_config(merge(TINY, {**sections, "training": training}))
        place = RunFolder(Path("nowhere"))
        trainings.append(Trainer(config, place, *pictures, torch.device("cpu")))
    full, half = trainings
    for one in trainings:
        torch.manual_seed(0)  # for dropout, noise and the like
        one.step()
    for name, loss in full.state.losses.sums.items():
        assert float(half.state.losses.sums[name]) == pytest.approx(
            float(loss), rel=3e-2, abs=1e-2
        ), name
    for (name, p), q in zip(
        full.state.model.named_parameters(), half.state.model.parameters(), strict=True
    ):
        assert q.dtype == torch.float32
        assert (p.grad is None) == (q.grad is None), name
    for _ in range(3):
        half.step()
    assert all(p.isfinite().all() for p in half.state.model.parameters())
    assert float(half.state.bad_in_row) == 0


def test_a_large_picture_is_resized_the_same_way_in_bf16() -> None:
    """Where the doubling is folded into the convolution, as it is in float32."""
    config = build_config({"generator": {"width": 32, "blocks": 1, "upsample": "resize"}})
    G = make_generator(config.generator, 3, 3)
    x = torch.rand(1, 3, 128, 128) * 2 - 1
    with torch.no_grad():
        away = copy_in_bf16(G).model(x) - G(x)
        scale = G(x).std()
    assert away.square().mean().sqrt() < 5e-2 * scale
