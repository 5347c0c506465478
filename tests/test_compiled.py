"""Training for the GPU: networks compiled by PyTorch, and no step that waits for a number."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, TINY_OPTIONS, Command
from pictures import domain_in_memory
from torch import Tensor
from torch._inductor import config as inductor
from torch.utils._python_dispatch import TorchDispatchMode

from diptych.config import Config
from diptych.cyclegan import CycleGAN
from diptych.errors import DiptychError
from diptych.host.surroundings import usual_torch
from diptych.networks.fast.casting import twin_of
from diptych.settings import Tree, build_config, merge, read_preset
from diptych.training.compiled import compiles
from diptych.training.guard import GuardedAdam
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer


def training(settings: Tree, device: str = "cpu") -> Trainer:
    """A real one, whose pictures are in memory."""
    config = build_config(settings)
    a, b = domain_in_memory(4, 72, 0), domain_in_memory(4, 72, 1000)
    return Trainer(config, RunFolder(Path("nowhere")), a, b, torch.device(device))


NORMS: list[Tree] = [
    {},
    {"generator": {"norm": "pixel", "upsample": "resize"}, "discriminator": {"norm": "group"}},
]


@pytest.mark.parametrize("norms", NORMS)
def test_compiled_networks_train_as_the_plain_ones(
    norms: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a cycle loss, of which every second step is; with the layers meant for GPUs."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()  # (what other tests have compiled is found again)
    seen: Counter[str] = Counter()
    for place in ("precision", "fast.norms", "fast.resize", "fast.wide"):

        def compiled_for_gpu(x: Tensor, place: str = place) -> bool:
            seen[place] += torch.compiler.is_compiling()
            return torch.compiler.is_compiling()

        monkeypatch.setattr(f"diptych.networks.{place}.compiled_for_gpu", compiled_for_gpu)
    small = merge(merge(TINY, norms), {"generator": {"blocks": 0}, "loss": {"cycle_every": 2}})
    plain, compiled = (
        training(merge(small, {"training": {"compile": on}})) for on in (False, True)
    )
    # (One number at a time: C++ compilers take twice as long over the same in vectors.)
    with inductor.patch({"cpp.simdlen": 1}):
        for trainer in (plain, compiled):
            for _ in range(3):
                trainer.step()
    assert {len(plain.state.losses.sums), len(compiled.state.losses.sums)} == {8}
    for name, loss in plain.state.losses.sums.items():
        torch.testing.assert_close(compiled.state.losses.sums[name], loss, rtol=1e-4, atol=0)
    weights = dict(compiled.state.model.named_parameters())
    for name, weight in plain.state.model.named_parameters():
        if weight.ndim > 1:  # (biases before a norm have no gradient but rounding)
            torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=1e-4)
    assert all(part._compiled_call_impl is None for part in compiled.state.model.modules())
    assert set(seen) >= {
        "precision",
        "fast.norms",
        "fast.wide",
        *(["fast.resize"] if norms else []),
    }


@pytest.mark.parametrize(
    ("settings", "device", "wanted"),
    [
        ({"training": {"epochs": 10_000}}, "cuda", True),
        ({"training": {"epochs": 10}}, "cuda", False),
        ({"training": {"epochs": 10_000}}, "cpu", False),
        ({"training": {"minutes": 60}}, "mps", False),
        ({"training": {"minutes": 60}}, "cuda", True),
        ({"training": {"minutes": 3}}, "cuda", False),
        ({"training": {"steps": 100}}, "cuda", False),
        ({"training": {"steps": 100, "compile": True}}, "cpu", True),
        ({"training": {"steps": 10**6, "compile": False}}, "cuda", False),
        ({"training": {"minutes": 60}, "loss": {"r1": 1}}, "cuda", False),
        ({"training": {"minutes": 60}, "loss": {"adversarial": "wgangp"}}, "cuda", False),
    ],
)
def test_long_trainings_on_a_gpu_are_compiled(
    settings: Tree, device: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diptych.training.compiled.find_spec", lambda name: name == "triton")
    config = build_config(settings)
    epochs = config.training.epochs  # of four pictures, one a step
    steps = 4 * epochs if epochs is not None else config.training.steps
    assert compiles(config, steps, torch.device(device)) is wanted
    monkeypatch.setattr("diptych.training.compiled.find_spec", lambda name: None)
    assert compiles(config, steps, torch.device(device)) is bool(config.training.compile)


def test_the_length_in_epochs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[int | None] = []

    def noted(config: Config, steps: int | None, device: torch.device) -> bool:
        known.append(steps)
        return False

    monkeypatch.setattr("diptych.training.step.compiles", noted)
    for length in ({"epochs": 10, "steps": None}, {"steps": 7}, {"minutes": 1, "steps": None}):
        training(merge(TINY, {"training": {"batch": 2, **length}}))
    assert known == [10 * 4 // 2, 7, None]


def test_what_cannot_be_compiled_is_trained_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it was asked for, as below."""

    torch._dynamo.reset()

    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("there is no compiler")

    def twin(model: CycleGAN, device: torch.device) -> CycleGAN:
        twin = twin_of(model)
        for network in twin.children():
            network.compile(backend=no_compiler)
        return twin

    usual = training(TINY)
    monkeypatch.setattr("diptych.training.step.compiles", lambda *_: True)
    monkeypatch.setattr("diptych.training.step.compiled_twin", twin)
    trainer = training(TINY)
    told: list[str] = []
    trainer.stepper.warn = told.append
    usual.stepper.working_copy, usual.stepper.model = None, usual.state.model
    start = {name: value.clone() for name, value in trainer.state.model.state_dict().items()}
    for _ in range(3):
        trainer.step()
        usual.step()
    (line,) = told
    assert "the networks cannot be compiled here" in line
    assert "there is no compiler" in line
    wanted = usual.state.model.state_dict()
    for name, value in trainer.state.model.state_dict().items():
        if value.ndim > 1:
            torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-4)
    # Other processes of it may have compiled theirs, and no gradients of biases before a norm.
    assert torch.equal(trainer.state.model.state_dict()["G_ab.encode.1.bias"],
                       start["G_ab.encode.1.bias"])  # fmt: skip
    assert not torch.equal(wanted["G_ab.encode.1.bias"], start["G_ab.encode.1.bias"])


def test_a_python_for_which_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python newer than this PyTorch knows; the networks are not even looked at."""

    def compile_nothing(network: torch.nn.Module, **options: Any) -> None:
        raise RuntimeError("torch.compile is not supported on Python 3.99+")

    monkeypatch.setattr("diptych.training.step.compiles", lambda *_: True)
    monkeypatch.setattr(torch.nn.Module, "compile", compile_nothing)
    told: list[str] = []
    a, b = domain_in_memory(4, 72, 0), domain_in_memory(4, 72, 1000)
    for asked in (None, True):
        config = build_config(merge(TINY, {"training": {"compile": asked}}))
        parts = (config, RunFolder(Path("nowhere")), a, b, torch.device("cpu"), None, told.append)
        if asked:
            with pytest.raises(
                DiptychError, match=r"not supported on .* \(leave training.compile out"
            ):
                Trainer(*parts)
        else:
            Trainer(*parts).step()
    assert len(told) == 1


def test_networks_are_compiled_for_no_shape_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the history fills, D sees one more fake in each step."""
    torch._dynamo.reset()  # (what other tests have compiled is found again)
    shapes: list[int] = []

    def compile_(graph: Any, inputs: Any) -> Any:
        shapes.append(max((x for x in inputs if x.ndim == 4), key=lambda x: x.shape[-1]).shape[0])
        return graph

    def twin(model: CycleGAN, device: torch.device) -> CycleGAN:
        twin = twin_of(model)
        for network in twin.children():
            network.compile(backend=compile_, dynamic=False)
        return twin

    monkeypatch.setattr("diptych.training.step.compiles", lambda *_: True)
    monkeypatch.setattr("diptych.training.step.compiled_twin", twin)
    trainer = training(merge(TINY, {"training": {"judged": 4, "history": 8}}))
    for _ in range(6):
        trainer.step()
    assert set(shapes) == {1, 2, 2 * 4}


class NothingRead(TorchDispatchMode):
    """Refuses operations that read a value: a processor would have to wait for the GPU."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        reading = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.default", "masked_select")
        assert not any(name in str(function) for name in reading), function
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("preset", ["paper", "laptop", "repaint", "best"])
def test_between_log_steps_nothing_is_read_back(preset: str) -> None:
    small = {"data": {"size": 64}, "generator": {"width": 4, "blocks": 1}}
    length = {"steps": 10, "device": "cpu", "minutes": None}
    trainer = training(merge(read_preset(preset), {**small, "training": length}))
    with NothingRead():
        for _ in range(5):
            trainer.step()
    with pytest.raises(AssertionError), NothingRead():
        float(trainer.state.bad_in_row)


CASES: dict[str, Tree] = {
    "paper": read_preset("paper"),
    "laptop": read_preset("laptop"),
    "best": read_preset("best"),
    "cut": {"method": "cut", "loss": {"identity": 0}},
    "slopes": {"discriminator": {"augment": True, "norm": "spectral"}, "loss": {"r1": 1}},
    "the rest": {
        "generator": {"norm": "batch", "dropout": 0.5, "downsample": "antialias"},
        "loss": {"adversarial": "wgangp", "cycle_features": 0.5},
        "training": {"batch": 2, "accumulate": 2, "judged": 4, "untouched": 1},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_stays_behind_on_the_cpu(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps on PyTorch's device ``meta``, which refuses tensors of the CPU as a GPU does.

    It knows no autocast and no fused Adam.
    """
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(GuardedAdam, "step_unless", lambda self, bad: self.step())
    small: Tree = {
        "data": {"size": 64}, "generator": {"width": 4, "blocks": 1},
        "training": {"steps": 10, "epochs": None, "minutes": None, "history": 2,
                     "precision": "float32"},
    }  # fmt: skip
    trainer = training(merge(CASES[case], small), "meta")
    for _ in range(4):
        trainer.step()
    kept = [*trainer.state.losses.sums.values(), *trainer.state.model.state_dict().values()]
    assert {tensor.device.type for tensor in kept} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("compile_networks", [False, True])
def test_a_gpu_computes_the_same_and_waits_for_nothing(compile_networks: bool) -> None:
    small = merge(TINY, {"training": {"compile": compile_networks}})
    here, there = training(TINY), training(small, "cuda")
    for _ in range(4):
        here.step()
        there.step()
    for name, loss in here.state.losses.sums.items():
        torch.testing.assert_close(there.state.losses.sums[name].cpu(), loss, rtol=1e-2, atol=0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            there.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_recordings_of_many_kinds_leave_each_other_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of steps with and without cycle loss, and of weights that move; bit by bit.

    (A U-Net mirrors nothing at its edges, whose gradients would be added up in no order.)
    """
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    settings: Tree = {
        "loss": {"cycle_every": 2, "cycle_end": 2.0, "identity_end": 1.0},
        "generator": {"architecture": "unet", "levels": 5, "width": 16},
        "discriminator": {"width": 16},
        "training": {"steps": 100, "compile": False},
    }
    settings = merge(TINY, settings)
    usual, recorded = (
        training(merge(settings, {"training": {"record": on}}), "cuda") for on in (False, True)
    )
    for _ in range(60):
        usual.step()
        recorded.step()
    for name, weight in usual.state.model.state_dict().items():
        assert torch.equal(recorded.state.model.state_dict()[name], weight), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("record", [False, True])
def test_bf16_learns_within_a_training_as_outside(record: bool) -> None:
    """``usual_torch`` is around every training: PyTorch would keep what it cast first."""
    settings = merge(TINY, {"training": {"precision": "bf16", "compile": False, "record": record}})
    outside, inside = (training(settings, "cuda") for _ in "12")
    inside.state.model.load_state_dict(outside.state.model.state_dict())
    before = [weight.detach().clone() for weight in outside.state.model.parameters()]
    for one, around in ((outside, nullcontext()), (inside, usual_torch(torch.device("cuda", 0)))):
        with around:
            for _ in range(40):
                one.step()
    rows = (outside.state.model.parameters(), inside.state.model.parameters(), before)
    moved, apart = 0.0, 0.0
    for there, here, start in zip(*rows, strict=True):
        if there.ndim < 2:  # (biases before a norm move by rounding alone)
            continue
        moved, apart = moved + float((there - start).norm()), apart + float((there - here).norm())
    assert apart < 0.3 * moved


def test_without_a_compiler_there_is_one_line(
    diptych: Command, towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    options = ["--preset", "repaint", "--steps", "2", *TINY_OPTIONS]
    options += ["--set", "training.compile=true"]
    done = diptych("train", "--data", towns, "--run", tmp_path / "run", *options)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "compile" in line]
    assert "the networks cannot be compiled here" in line
    assert "raised:" not in line
    assert "leave training.compile out" in line
