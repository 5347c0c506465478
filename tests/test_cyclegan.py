"""One step of the method against the paper's formulas, written out pass by pass in float64."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from diptych.config import LossConfig
from diptych.cyclegan import CycleGAN
from diptych.losses import gradient_penalty, plain_l1, r1_penalty
from diptych.settings import build_config
from diptych.training.state import make_model

SMALL: dict[str, Any] = {
    "data": {"size": 32},
    "generator": {"width": 4, "blocks": 1},
    "discriminator": {"width": 4, "layers": 2},
}


def model_and_batches(channels_a: int = 3, channels_b: int = 3, **sections: Any) -> Any:
    torch.manual_seed(1)
    config = build_config({**SMALL, **sections})
    model = make_model(config, channels_a, channels_b).double()
    for p in model.parameters():  # larger than the start, so that no term is nearly zero
        p.data.mul_(8).add_(torch.randn_like(p), alpha=0.02)
    a = torch.rand(2, channels_a, 32, 32, dtype=torch.float64) * 2 - 1
    b = torch.rand(2, channels_b, 32, 32, dtype=torch.float64) * 2 - 1
    return config, model, a, b


def grads(loss: Tensor, model: CycleGAN) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {n: g for n, g in zip(names, found, strict=True) if g is not None}


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
def test_batch_norm_learns_the_averages_of_what_will_be_translated(method: str) -> None:
    """And of nothing else that passes through G: in use it would normalise by them."""
    generator = {**SMALL["generator"], "norm": "batch", "blocks": 6}
    _, m, a, b = model_and_batches(generator=generator, method=method)
    alone = deepcopy(m)
    config = build_config({**SMALL, "generator": generator, "method": method})
    m.generator_loss(a, b * 0.1, config.loss)
    alone.G_ab(a)
    networks = [(m.G_ab, alone.G_ab)]
    if method == "cyclegan":
        alone.G_ba(b * 0.1)
        networks.append((m.G_ba, alone.G_ba))
    for learned, wanted in networks:
        for name, value in learned.named_buffers():
            torch.testing.assert_close(
                value, dict(wanted.named_buffers())[name], rtol=0, atol=1e-12
            )
        assert all(
            x.track_running_stats for x in learned.modules() if isinstance(x, nn.BatchNorm2d)
        )


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_generator_loss_and_its_gradient_are_the_papers(norm: str) -> None:
    sections = {"generator": {**SMALL["generator"], "norm": norm}}
    config, m, a, b = model_and_batches(loss={"cycle": 7.0, "identity": 3.0}, **sections)
    loss, _, fakes = m.generator_loss(a, b, config.loss)

    fake_b, fake_a = m.G_ab(a), m.G_ba(b)
    expected = ((m.D_b(fake_b) - 1) ** 2).mean() + ((m.D_a(fake_a) - 1) ** 2).mean()
    expected = expected + 7.0 * (m.G_ba(fake_b) - a).abs().mean()
    expected = expected + 7.0 * (m.G_ab(fake_a) - b).abs().mean()
    expected = expected + 3.0 * (m.G_ab(b) - b).abs().mean() + 3.0 * (m.G_ba(a) - a).abs().mean()

    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(fakes["b"], fake_b, rtol=0, atol=1e-12)
    ours, theirs = grads(loss, m), grads(expected, m)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-8, atol=1e-11)


def test_part_of_the_cycle_loss_may_compare_features() -> None:
    """(1 - g) mean|rec - x| + g mean|f(rec) - f(x)|, f being all of D but its last layer."""
    config, m, a, b = model_and_batches(loss={"cycle_features": 0.25})
    _, terms, _ = m.generator_loss(a, b, config.loss)
    for name, x, rec, D in (
        ("cycle_a", a, m.G_ba(m.G_ab(a)), m.D_a), ("cycle_b", b, m.G_ab(m.G_ba(b)), m.D_b),
    ):  # fmt: skip
        seen = (D.body[:-1](rec) - D.body[:-1](x)).abs().mean()
        expected = 0.75 * (rec - x).abs().mean() + 0.25 * seen
        torch.testing.assert_close(terms[name], expected, rtol=1e-9, atol=0)


def test_what_is_plain_weighs_in_where_it_can() -> None:
    config, m, a, b = model_and_batches(loss={"plain": 4.0})
    a, b = 0.02 * a + 0.5, 0.01 * b
    loss, terms, fakes = m.generator_loss(a, b, config.loss)
    without, _, _ = m.generator_loss(a, b, LossConfig())
    changes = (plain_l1(fakes["b"], a), plain_l1(fakes["a"], b))
    torch.testing.assert_close((terms["plain_a"], terms["plain_b"]), changes)
    torch.testing.assert_close(loss, without + 4 * sum(changes))
    assert min(changes) > 0.01
    config, m, a, b = model_and_batches(channels_b=1, loss={"plain": 4.0})
    assert "plain_a" not in m.generator_loss(a, b, config.loss)[1]


def test_terms_without_weight_are_not_computed() -> None:
    config, m, a, b = model_and_batches(loss={"cycle": 0.0, "identity": 0.0})
    passes = []
    for G in m.generators:
        G.register_forward_hook(lambda *_: passes.append(1))
    loss, terms, fakes = m.generator_loss(a, b, config.loss)
    assert len(passes) == 2
    assert sorted(terms) == ["G_ab/adversarial", "G_ba/adversarial"]
    assert sorted(fakes) == ["a", "b"]
    torch.testing.assert_close(loss, sum(terms.values()))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_discriminator_loss_is_the_papers(norm: str) -> None:
    sections = {"discriminator": {**SMALL["discriminator"], "norm": norm}}
    config, m, a, b = model_and_batches(loss={"discriminator": 0.5}, **sections)
    fake_a, fake_b = torch.rand(2, 2, 3, 32, 32, dtype=torch.float64)
    loss, terms = m.discriminator_loss(a, b, {"a": fake_a, "b": fake_b}, config.loss)
    D_a = ((m.D_a(a) - 1) ** 2).mean() + (m.D_a(fake_a) ** 2).mean()
    D_b = ((m.D_b(b) - 1) ** 2).mean() + (m.D_b(fake_b) ** 2).mean()
    torch.testing.assert_close(loss, 0.5 * (D_a + D_b), rtol=1e-12, atol=0)
    torch.testing.assert_close(terms["D_a"], D_a, rtol=1e-12, atol=0)
    assert all(name.startswith("D_") for name in grads(loss, m))


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
@pytest.mark.parametrize("adversarial", ["lsgan", "wgangp"])
def test_slopes_of_d_are_bounded_as_the_settings_say(method: str, adversarial: str) -> None:
    loss = {"adversarial": adversarial, "r1": 3.0, "discriminator": 1.0}
    config, m, *batches = model_and_batches(method=method, loss=loss)
    m, real = m.float(), dict(zip("ab", (x.float() for x in batches), strict=True))
    fakes = {name: torch.rand_like(x) * 2 - 1 for name, x in real.items()}
    torch.manual_seed(5)
    found, terms = m.discriminator_loss(real["a"], real["b"], fakes, config.loss)
    torch.manual_seed(5)  # (the penalty of wgangp looks at random points)
    for name, D in zip(terms, m.discriminators, strict=True):
        x, fake = real[name[-1]], fakes[name[-1]]
        if adversarial == "wgangp":
            game = D(fake).mean() - D(x).mean() + gradient_penalty(D, x, fake)
        else:
            game = (D(x) - 1).square().mean() + D(fake).square().mean()
        expected = game + 3 * r1_penalty(D, x)
        torch.testing.assert_close(terms[name], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found, sum(terms.values()))


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
def test_noise_punishes_the_slope_of_d(method: str) -> None:
    """For D(x) = w.x, E (w.(x + n) - t)^2 = (w.x - t)^2 + deviation^2 |w|^2."""
    _, m, _, _ = model_and_batches(method=method)
    for D in m.discriminators:
        D.body = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False)).double()
        D.body[0].weight.data.mul_(10)  # so that few noises tell
    real, fake = torch.rand(2, 4, 3, 500, 500, dtype=torch.float64)
    clean, noisy = (
        m.discriminator_loss(real, real, {"a": fake, "b": fake}, LossConfig(noise=deviation))[1]
        for deviation in (0.0, 0.3)
    )
    for name, D in zip(clean, m.discriminators, strict=True):
        slope = 2 * 0.3**2 * D.body[0].weight.square().sum()  # once for real, once for fake ones
        torch.testing.assert_close(noisy[name] - clean[name], slope, rtol=0.01, atol=0)


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
def test_noise_reaches_the_generators_verdict_too(method: str) -> None:
    config, m, a, b = model_and_batches(method=method, loss={"noise": 1.0})
    first, second = (m.generator_loss(a, b, config.loss)[1] for _ in range(2))
    verdicts = [name for name in first if name.endswith("/adversarial")]
    assert len(verdicts) == len(m.generators)
    assert all(first[name] != second[name] for name in verdicts)


def test_domains_may_differ_in_channels_and_then_identity_is_off() -> None:
    config, m, a, b = model_and_batches(channels_a=1, channels_b=4)
    loss, terms, fakes = m.generator_loss(a, b, config.loss)
    assert fakes["b"].shape == (2, 4, 32, 32)
    assert fakes["a"].shape == (2, 1, 32, 32)
    assert "identity_a" not in terms
    parts = terms["G_ab/adversarial"] + terms["G_ba/adversarial"]
    torch.testing.assert_close(loss, parts + 10 * (terms["cycle_a"] + terms["cycle_b"]))


@pytest.mark.parametrize("adversarial", ["lsgan", "bce", "hinge", "wgangp"])
def test_every_objective_teaches_d_to_tell_real_from_fake(adversarial: str) -> None:
    sections = {"discriminator": {**SMALL["discriminator"], "norm": "none"}}
    weights = {"adversarial": adversarial, "discriminator": 1.0}
    config, _, a, b = model_and_batches(loss=weights, **sections)
    m = CycleGAN(config, 3, 3).double()
    fake_a, fake_b = (avg_pool2d(x, 3, 1, 1) for x in (a, b))  # fakes are blurred
    adam = torch.optim.Adam(m.discriminators.parameters(), lr=5e-3)

    def gap() -> float:
        """How much higher D scores real pictures, in units of the spread of its verdicts."""
        with torch.no_grad():
            real, fake = m.D_a(a), m.D_a(fake_a)
        return float((real.mean() - fake.mean()) / torch.cat([real, fake]).std())

    before = gap()
    for _ in range(60):
        adam.zero_grad()
        m.discriminator_loss(a, b, {"a": fake_a, "b": fake_b}, config.loss)[0].backward()
        adam.step()
    assert gap() > before + 0.5
