"""The benchmarks: operations are counted right, plain and diptych compute the same, all run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from flops import discriminator_layers, forward, generator_layers, training_step
from pictures import domain_in_memory
from plain import Plain, copy_weights
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diptych.config import Config
from diptych.cyclegan import CycleGAN
from diptych.networks import Discriminator, make_generator
from diptych.networks.fast import resize, wide, winograd
from diptych.settings import build_config, merge
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def config_of(**sections: Any) -> Config:
    return build_config(merge(TINY, sections))


@pytest.fixture
def plain_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations are those of the plain formulas: shortcuts are to show as speed."""
    for layers in (resize, wide):
        monkeypatch.setattr(layers, "quick_on", lambda x: False)


@pytest.mark.usefixtures("plain_formulas")
@pytest.mark.parametrize(("upsample", "halvings"), [("transpose", 2), ("resize", 2), ("resize", 1)])
def test_operations_of_networks(upsample: str, halvings: int) -> None:
    config = config_of(
        generator={"width": 8, "blocks": 2, "upsample": upsample, "halvings": halvings},
        discriminator={"width": 8, "layers": 3},
    )
    x = torch.zeros(1, 3, 64, 96)
    G = make_generator(config.generator, 3, 3)
    D = Discriminator(config.discriminator, 3)
    assert forward(generator_layers(config.generator, 3, 3, 64, 96)) == counted(lambda: G(x))
    assert forward(discriminator_layers(config.discriminator, 3, 64, 96)) == counted(lambda: D(x))


@pytest.mark.usefixtures("plain_formulas")
@pytest.mark.parametrize("identity", [5.0, 0.0])
def test_operations_of_a_training_step(identity: float) -> None:
    config = config_of(
        data={"size": 64}, generator={"width": 8, "blocks": 2},
        discriminator={"width": 8, "layers": 3}, loss={"identity": identity},
        training={"batch": 2},
    )  # fmt: skip
    a, b = torch.rand(2, 2, 3, 64, 64)
    model = CycleGAN(config, 3, 3)

    def step() -> None:
        model.discriminators.requires_grad_(False)
        loss, _, fakes = model.generator_loss(a, b, config.loss)
        loss.backward()
        model.discriminators.requires_grad_(True)
        fakes = {name: fake.detach() for name, fake in fakes.items()}
        model.discriminator_loss(a, b, fakes, config.loss)[0].backward()

    assert training_step(config) == counted(step)
    if identity:  # plain is the method with all its terms
        plain = Plain(config, 3, torch.device("cpu"))
        assert training_step(config) == counted(lambda: plain.step(a, b))


def counted(run: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("width", [8, 16])  # from 16 on with Winograd's convolutions
def test_plain_and_diptych_agree_in_float32(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step from the same weights, on the same pictures.

    The losses agree to 1e-5. Gradients of |x - y| and of ReLU jump where their argument changes
    its sign, so that a rounding error may turn a value around: plain itself is up to 4e-3 away
    from the same in float64. (Layer by layer they agree to 5e-6: test_fast_layers.py.)
    """
    monkeypatch.setattr(winograd, "FEWEST_TILES", 1)
    trainer, plain = pair_of_trainings("float32", width)
    _, exact = pair_of_trainings("float32", width)
    for network in exact.networks.values():
        network.double()
    for number in range(4):
        pictures = step_from_equal_weights(trainer, plain, exact)
        for name, loss in plain.step(*pictures).items():
            assert float(trainer.state.losses.sums[name]) == pytest.approx(loss, rel=1e-5), (
                number,
                name,
            )
        exact.step(*(x.double() for x in pictures))
        for name, network in exact.networks.items():
            ours = gradient(trainer.state.model.get_submodule(name))
            assert away(ours, gradient(network)) < 2e-2, (number, name)


def test_plain_and_diptych_agree_in_bf16() -> None:
    """Step by step from the same weights. (Every CPU computes in bf16, if slowly.)

    Gradients of such networks are far from those in float32 whoever computes them in bf16: ours
    may be no farther than those of plain under autocast.
    """
    trainer, plain = pair_of_trainings("bf16")
    _, autocast = pair_of_trainings("bf16")
    for number in range(4):
        pictures = step_from_equal_weights(trainer, plain, autocast)
        with torch.autocast("cpu", torch.bfloat16):
            autocast.step(*pictures)
        for name, loss in plain.step(*pictures).items():
            assert float(trainer.state.losses.sums[name]) == pytest.approx(loss, rel=2e-2), (
                number,
                name,
            )
        for name, network in plain.networks.items():
            ours = gradient(trainer.state.model.get_submodule(name))
            usual, exact = gradient(autocast.networks[name]), gradient(network)
            assert away(ours, exact) < 1.25 * away(usual, exact) + 1e-3, (number, name)


def pair_of_trainings(precision: str, width: int = 8) -> tuple[Trainer, Plain]:
    """diptych and plain with the same weights."""
    config = config_of(
        generator={"width": width, "blocks": 2},
        discriminator={"width": width, "layers": 2},
        training={"history": 0, "precision": precision, "batch": 2, "steps": 1000},
    )
    a, b = (domain_in_memory(6, 36, seed) for seed in (0, 100))
    trainer = Trainer(config, RunFolder(Path("nowhere")), a, b, torch.device("cpu"))
    plain = Plain(config, 3, torch.device("cpu"))
    join(trainer, plain)
    return trainer, plain


def step_from_equal_weights(trainer: Trainer, *others: Plain) -> tuple[Tensor, Tensor]:
    """One step of diptych, from weights that the others get first; returns its pictures."""
    for other in others:
        join(trainer, other)
    pictures = next_pictures(trainer)
    trainer.state.losses.sums = {}
    trainer.step()
    return pictures


def join(trainer: Trainer, plain: Plain) -> None:
    for name, network in plain.networks.items():
        copy_weights(trainer.state.model.get_submodule(name), network)


def next_pictures(trainer: Trainer) -> tuple[Tensor, Tensor]:
    """What diptych's next step will see."""
    batch, stepper = trainer.config.training.batch, trainer.stepper
    position = trainer.state.step * batch
    return stepper.batches_a.at(position, batch), stepper.batches_b.at(position, batch)


def gradient(network: nn.Module) -> Tensor:
    """Of all weights, one behind the other."""
    return torch.cat(
        [p.grad.double().flatten() for p in network.parameters() if p.grad is not None]
    )


def away(x: Tensor, y: Tensor) -> float:
    """How far ``x`` is from ``y``, relative to ``y``."""
    return float(torch.linalg.norm(x - y) / torch.linalg.norm(y))


@pytest.mark.parametrize(
    "command",
    [
        ["step.py", "--size", "32", "--width", "4", "--blocks", "1", "--layers", "2"],
        ["data.py", "--pictures", "8", "--size", "32", "--steps", "32/4/1"],
        ["translate.py", "--pictures", "3", "--size", "32", "--networks", "4/1"],
        ["start.py", "--rounds", "1"],
        ["scale.py", "--most", "1000", "--shortest"],
    ],
    ids=lambda command: str(command[0]).removesuffix(".py"),
)
def test_each_benchmark_runs(command: list[str]) -> None:
    options = [] if command[0] == "start.py" else ["--seconds", "0", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / command[0], *command[1:], *options],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| ---" in done.stdout
