"""Passes that are recorded and played back, on a stand-in for CUDA graphs that works on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
import torch
from conftest import TINY
from test_compiled import training
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diptych.cyclegan import CycleGAN
from diptych.settings import Tree, merge
from diptych.training.cuda_graphs import FIRST_ONES, Recording
from diptych.training.trainer import Trainer
from diptych.training.two_streams import InTwoStreams


class Tape(TorchDispatchMode):
    """Notes every operation; ``replay`` makes them again, in the same memory.

    As a CUDA graph does: what the program around them would do otherwise now, it does not notice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.before: list[tuple[Tensor, Tensor]] = []  # what was written to, and what it held

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = dict(zip((one.name for one in function._schema.arguments), args, strict=False))
        given.update(kwargs or {})
        for one in function._schema.arguments:
            written = one.alias_info is not None and one.alias_info.is_write
            if written or one.name.startswith("running_"):  # (batch norm does not say so)
                self.before += [(x, x.clone()) for x in tensors(given.get(one.name))]
        results = function(*args, **(kwargs or {}))
        known = {x.untyped_storage().data_ptr() for x in tensors((args, kwargs))}
        new = [x for x in tensors(results) if x.untyped_storage().data_ptr() not in known]
        self.made.append((function, args, kwargs or {}, new))
        return results

    def replay(self) -> None:
        with torch.no_grad():
            for function, args, kwargs, results in self.made:
                again = tensors(function(*args, **kwargs))
                if results:
                    for result, value in zip(results, again, strict=True):
                        result.copy_(value)


def tensors(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


@contextmanager
def tape(graph: Tape, capture_error_mode: str) -> Iterator[None]:
    """As ``torch.cuda.graph``: what is asked for in the block is noted, but not made.

    (It takes no pool: recordings that share one are right only if they are played in the order in
    which they were made, which those of moving weights are not.)
    """
    with torch.random.fork_rng(devices=[]), graph:
        yield
    for x, value in reversed(graph.before):
        with torch.no_grad():
            x.copy_(value)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
    monkeypatch.setattr(torch.cuda, "graph", tape)
    monkeypatch.setattr("diptych.training.step.uses_cuda_graphs", lambda config, device: True)
    monkeypatch.setattr("diptych.training.step.InTwoStreams", lambda model, device: model)
    monkeypatch.setattr("diptych.training.step.make_working_copy", lambda *_: None)


class Stream:
    """A stand-in for a CUDA stream: the numbers of what it has been given, and has to wait for."""

    current: ClassVar[Stream]

    def __init__(self, device: object = None) -> None:
        self.waits_for: list[tuple[Stream, int]] = []
        self.given: list[str] = []

    def wait_stream(self, other: Stream) -> None:
        self.waits_for.append((other, len(other.given)))


def test_each_way_has_a_stream_and_waits_for_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[tuple[int, ...], Stream]] = []

    @contextmanager
    def stream(one: Stream) -> Iterator[None]:
        before, Stream.current = Stream.current, one
        yield
        Stream.current = before

    def run(name: str) -> Callable[[Tensor], Tensor]:
        def network(x: Tensor) -> Tensor:
            Stream.current.given.append(name)
            return x + 1

        return network

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream.current)
    monkeypatch.setattr(Tensor, "record_stream", lambda x, one: read.append((x.shape, one)))
    model = training(TINY).state.model
    assert isinstance(model, CycleGAN)
    Stream.current = first = Stream()
    ways = InTwoStreams(model, torch.device("cpu"))
    first.given.append("inputs")
    of_f, of_g = ways._both(run("f"), run("g"), torch.zeros(1), torch.zeros(2))
    assert (of_f.shape, of_g.shape) == ((1,), (2,))
    assert (first.given, ways.second.given) == (["inputs", "f"], ["g"])
    assert ways.second.waits_for == [(first, 1)]  # for the inputs, and not for f
    assert first.waits_for == [(ways.second, 1)]
    assert read == [((2,), ways.second), ((2,), first)]


CASES: dict[str, Tree] = {
    "published": {},
    "a loss in every second step": {"loss": {"cycle_every": 2, "identity": 1.0}},
    "weights that move": {"loss": {"cycle_end": 2.0, "identity_end": 0.0}},
    "more for D to see": {
        "loss": {"adversarial": "bce", "r1": 1.0, "plain": 5.0},
        "generator": {"norm": "pixel", "output": "retouch", "upsample": "resize"},
        "discriminator": {"norm": "group", "texture": True},
        "training": {"judged": 3, "untouched": 1, "batch": 2},
    },
    "batch norm": {"generator": {"norm": "batch"}, "discriminator": {"norm": "spectral"}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_training_is_the_same(case: str, graphs: None) -> None:
    settings = merge(merge(TINY, {"training": {"history": 2, "steps": 40}}), CASES[case])
    recorded, usual = training(settings), training(settings)
    usual.stepper.recorder.on = False
    for _ in range(3 * FIRST_ONES + 4):
        recorded.step()
        usual.step()
    assert len(played(recorded)) == (3 if case == "a loss in every second step" else 2)
    for name, loss in usual.state.losses.sums.items():
        torch.testing.assert_close(recorded.state.losses.sums[name], loss, rtol=1e-5, atol=1e-6)
    wanted = usual.state.model.state_dict()
    for name, value in recorded.state.model.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-6)


def test_an_old_recording_is_given_up_before_the_next(
    graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes as much memory as a step does."""
    alive: WeakSet[Recording] = WeakSet()
    most = 0

    class Counted(Recording):
        def __init__(self, *given: Any) -> None:
            nonlocal most
            most = max(most, len(alive) + 1)
            super().__init__(*given)
            alive.add(self)

    monkeypatch.setattr("diptych.training.cuda_graphs.Recording", Counted)
    trainer = training(merge(TINY, CASES["weights that move"]))
    for _ in range(12):
        trainer.step()
    assert most == 2  # of G and of D


def test_each_step_draws_its_own_noise(graphs: None) -> None:
    trainer = training(merge(TINY, {"loss": {"noise": 0.5}, "optimizer": {"rate": 1e-30}}))
    seen = []
    for _ in range(8):
        trainer.state.losses.sums, trainer.state.losses.counts = {}, {}
        trainer.step()
        trainer.state.step = 0  # the same pictures again
        seen.append(float(trainer.state.losses.sums["G_ab/adversarial"]))
    assert len(set(seen)) == 8


def test_a_step_that_was_left_out_leaves_no_trace(graphs: None) -> None:
    """Gradients that are not finite are found in a recorded step too."""
    trainer = training(TINY)
    for _ in range(FIRST_ONES + 1):
        trainer.step()
    before = [p.clone() for p in trainer.state.model.parameters()]
    weight = next(trainer.state.model.G_ab.parameters())
    with torch.no_grad():
        kept = weight.clone()
        weight.fill_(torch.nan)
    trainer.step()
    assert int(trainer.state.bad_in_row) == 1
    with torch.no_grad():
        weight.copy_(kept)
    for now, then in zip(trainer.state.model.parameters(), before, strict=True):
        assert torch.equal(now, then)
    trainer.step()
    assert int(trainer.state.bad_in_row) == 0
    assert not torch.equal(weight, kept)


def played(trainer: Trainer) -> list[Any]:
    return list(trainer.stepper.recorder._recordings.values())
