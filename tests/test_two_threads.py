"""Both ways of CycleGAN at the same time: the same losses and gradients, in two threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from pictures import domain_in_memory
from torch import Tensor

from diptych.cyclegan import CycleGAN
from diptych.settings import build_config, merge
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer
from diptych.training.two_threads import InTwoThreads

LAPTOP = {
    "generator": {"norm": "pixel", "upsample": "resize", "output": "retouch"},
    "discriminator": {"norm": "group", "texture": True, "fine": True, "padding": False},
    "loss": {"identity": 1, "adversarial": "bce", "plain": 20, "noise": 0.25, "cycle_every": 2},
    "training": {"batch": 2, "judged": 4, "untouched": 1},
}
KINDS: dict[str, dict[str, Any]] = {
    "paper": {"loss": {"cycle": 7, "identity": 3}},
    "laptop": LAPTOP,
    "batch norm": {"generator": {"norm": "batch"}, "discriminator": {"norm": "batch"}},
    "slopes and features": {"loss": {"r1": 1, "cycle_features": 0.5, "identity": 0}},
}


@pytest.fixture(autouse=True)
def _two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_one_after_the_other(kind: str) -> None:
    """In float64, where nothing but the order of summation can differ."""
    torch.manual_seed(0)
    config = build_config(merge(TINY, KINDS[kind]))
    model = CycleGAN(config, 3, 3).double()
    with torch.no_grad():
        for p in model.parameters():  # larger than the start, so that no term is nearly zero
            p.mul_(8).add_(torch.randn_like(p), alpha=0.02)
    a, b, past_a, past_b = torch.rand(4, config.training.batch, 3, 32, 32).double() * 2 - 1
    buffers = [value.clone() for value in model.buffers()]

    def results(one: CycleGAN) -> list[Tensor]:
        torch.manual_seed(1)  # (of the noise)
        model.zero_grad(set_to_none=True)
        for value, before in zip(model.buffers(), buffers, strict=True):
            value.copy_(before)
        model.discriminators.requires_grad_(False)
        loss_G, terms_G, fakes = one.generator_loss(a, b, config.loss)
        loss_G.backward()
        model.discriminators.requires_grad_(True)
        loss_D, terms_D = one.discriminator_loss(a, b, {"a": past_a, "b": past_b}, config.loss)
        loss_D.backward()
        gradients = [p.grad for p in model.parameters()]
        assert all(gradient is not None for gradient in gradients)
        tensors = [loss_G, *terms_G.values(), *fakes.values(), loss_D, *terms_D.values()]
        averages = [value.clone() for value in model.buffers()]
        return [*tensors, *(g for g in gradients if g is not None), *averages]

    two = InTwoThreads(model)
    with two.sharing_threads():
        found = results(two)
    for ours, theirs in zip(found, results(model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_each_way_has_a_thread_and_half_of_pytorchs() -> None:
    two = InTwoThreads(CycleGAN(build_config(TINY), 3, 3))
    seen = {}

    def note(network: Any, inputs: Any) -> None:
        seen[network] = threading.get_ident(), torch.get_num_threads()

    for network in (two.G_ab, two.G_ba):
        network.register_forward_pre_hook(note)
    a, b = torch.rand(2, 1, 3, 32, 32)
    for threads, shares in ((2, (1, 1)), (5, (3, 2)), (1, (1, 1))):
        torch.set_num_threads(threads)
        with two.sharing_threads():
            two.translate(a, b)
        (first, own), (second, others) = seen[two.G_ab], seen[two.G_ba]
        assert first == threading.get_ident()
        assert (first == second) is (threads == 1)
        assert (own, others) == shares
        assert torch.get_num_threads() == threads


def test_what_goes_wrong_in_either_thread_is_raised() -> None:
    two = InTwoThreads(CycleGAN(build_config(TINY), 3, 3))
    a, b = torch.rand(2, 1, 3, 32, 32)
    with two.sharing_threads():
        for pictures in ((a[:, :2], b), (a, b[:, :2])):
            with pytest.raises(RuntimeError, match="channels"):
                two.translate(*pictures)
        fakes = two.translate(a, b)
    assert [fake.shape for fake in fakes] == [a.shape, b.shape]


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_laptop_trains_so_and_repeats_its_bits(precision: str) -> None:
    pictures = [domain_in_memory(6, 36, seed) for seed in (0, 100)]
    config = build_config(merge(merge(TINY, LAPTOP), {"training": {"precision": precision}}))
    weights = []
    for _ in range(2):
        training = Trainer(config, RunFolder(Path("nowhere")), *pictures, torch.device("cpu"))
        assert isinstance(training.stepper.model, InTwoThreads)
        before = {name: p.clone() for name, p in training.state.model.named_parameters()}
        for _ in range(3):
            training.step()
        assert int(training.state.bad_in_row) == 0
        assert torch.get_num_threads() == 2
        after = dict(training.state.model.named_parameters())
        for name, p in after.items():
            assert not name.endswith("weight") or not torch.equal(p, before[name]), name
        weights.append(after)
    for name, p in weights[0].items():
        assert torch.equal(p, weights[1][name]), name


@pytest.mark.parametrize(
    "sections",
    [
        {"generator": {"dropout": 0.5}},
        {"discriminator": {"augment": True}},
        {"training": {"precision": "fp16"}},  # (autocast is one thread's alone)
    ],
    ids=str,
)
def test_what_needs_one_thread_has_it(sections: dict[str, Any]) -> None:
    config = build_config(merge(merge(TINY, LAPTOP), sections))
    pictures = [domain_in_memory(6, 36, seed) for seed in (0, 100)]
    training = Trainer(config, RunFolder(Path("nowhere")), *pictures, torch.device("cpu"))
    assert not isinstance(training.stepper.model, InTwoThreads)
