"""The networks are the paper's: sizes, what they see, another implementation's output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from diptych.config import Config
from diptych.cyclegan import CycleGAN
from diptych.network_config import DiscriminatorConfig, GeneratorConfig
from diptych.networks import Discriminator, initialise, make_generator
from diptych.networks.blocks import BlurDown, count_parameters, group_norm, norm_layer, upsample
from diptych.networks.discriminator import shrunk, texture
from diptych.networks.generator import ResnetGenerator, UnetGenerator
from diptych.settings import build_config
from diptych.training.state import make_model
from diptych.training.working_copy import copy_in_bf16

UNET = {"architecture": "unet", "width": 8, "levels": 5}


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel * kernel + after


@pytest.mark.parametrize(("blocks", "published"), [(6, 7_837_699), (9, 11_378_179)])
def test_generator_has_the_published_number_of_parameters(blocks: int, published: int) -> None:
    by_definition = (
        conv(3, 64, 7) + conv(64, 128, 3) + conv(128, 256, 3)
        + blocks * 2 * conv(256, 256, 3)
        + conv(256, 128, 3) + conv(128, 64, 3) + conv(64, 3, 7)
    )  # fmt: skip
    assert by_definition == published
    assert count_parameters(make_generator(GeneratorConfig(blocks=blocks), 3, 3)) == published


def test_discriminator_has_the_published_number_of_parameters() -> None:
    by_definition = (
        conv(3, 64, 4) + conv(64, 128, 4) + conv(128, 256, 4) + conv(256, 512, 4) + conv(512, 1, 4)
    )
    assert by_definition == 2_764_737
    assert count_parameters(Discriminator(DiscriminatorConfig(), 3)) == 2_764_737


@pytest.mark.parametrize(
    ("layers", "fine", "patch"),
    [(1, False, 16), (2, False, 34), (3, False, 70), (1, True, 13), (2, True, 25), (3, True, 49)],
)
def test_one_verdict_sees_one_patch(layers: int, fine: bool, patch: int) -> None:
    config = DiscriminatorConfig(width=2, layers=layers, norm="none", fine=fine)
    D = Discriminator(config, 1).double()
    x = torch.randn(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    verdicts = D(x)
    verdicts[0, 0, verdicts.shape[2] // 2, verdicts.shape[3] // 2].backward()
    assert x.grad is not None
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == patch


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_without_padding_a_discriminator_does_not_know_where_it_looks(
    layers: int, fine: bool
) -> None:
    discriminator = DiscriminatorConfig(
        width=2, layers=layers, norm="pixel", padding=False, fine=fine
    )
    config = Config(discriminator=discriminator)
    D = Discriminator(config.discriminator, 3).double()
    x = torch.randn(1, 3, 120, 120, dtype=torch.float64)
    step = 2**layers
    torch.testing.assert_close(D(x[..., step:, 2 * step :]), D(x)[..., 1:, 2:])
    patch = 6 * step + 1 if fine else 9 * step - 2
    assert config.smallest_size() == max(16, patch)
    assert D(x[..., :patch, :patch]).shape == (1, 1, 1, 1)
    with pytest.raises(RuntimeError):
        D(x[..., : patch - 1, : patch - 1])


@pytest.mark.parametrize("size", [64, 62, 66, 61])
def test_patches_lie_in_the_middle(size: int) -> None:
    """What they leave over is shared out: at most a pixel more on one side than on the other."""
    config = DiscriminatorConfig(width=4, layers=2, norm="none", padding=False, fine=True)
    D = Discriminator(config, 1).double()
    x = torch.randn(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    D(x).square().sum().backward()
    assert x.grad is not None
    for axis in (0, 1):
        seen = x.grad[0, 0].abs().sum(axis).nonzero()
        before, behind = int(seen.min()), size - 1 - int(seen.max())
        assert before + behind == (size - config.patch) % config.stride
        assert behind - before in (0, 1)


@pytest.mark.parametrize("size", [66, 67, 68])
def test_from_afar_the_middle_is_seen(size: int) -> None:
    """In squares of equal size, since the noise that D is given is reckoned for them."""
    x = torch.randn(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    small = shrunk(x, 3)
    assert small.shape[2:] == (22, 22)
    small.sum().backward()
    assert x.grad is not None
    before = {66: 0, 67: 0, 68: 1}[size]
    expected = torch.zeros(size, size, dtype=torch.float64)
    expected[before : before + 66, before : before + 66] = 1 / 9
    torch.testing.assert_close(x.grad[0, 0], expected)


def test_texture_is_what_a_mean_of_seven_by_seven_leaves() -> None:
    x = torch.rand(2, 3, 12, 15, dtype=torch.float64) * 2 - 1
    grey = x.numpy().mean(axis=1)
    expected = np.empty_like(grey)
    for y, row in np.ndindex(12, 15):
        around = grey[:, max(0, y - 3) : y + 4, max(0, row - 3) : row + 4]
        expected[:, y, row] = 2 * (grey[:, y, row] - around.mean(axis=(1, 2)))
    np.testing.assert_allclose(texture(x)[:, 0].numpy(), expected, atol=1e-12)


def test_verdicts_on_texture_mind_neither_colour_nor_shade() -> None:
    config = DiscriminatorConfig(width=4, layers=2, norm="pixel", texture=True)
    D = Discriminator(config, 3).double()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    tinted = x + torch.tensor([0.3, -0.2, 0.4], dtype=torch.float64).view(3, 1, 1)
    with torch.no_grad():
        (whole, fine), (other_whole, other_fine) = D(x)[0], D(tinted)[0]
        _, of_stripes = D(x + torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(32))[0]
    assert whole.shape == fine.shape == (14, 14)
    torch.testing.assert_close(fine, other_fine)
    assert float((whole - other_whole).abs().max()) > 1e-3
    assert float((fine - of_stripes).abs().max()) > 1e-3


def test_a_discriminator_from_afar_sees_means_of_squares() -> None:
    config = DiscriminatorConfig(width=4, layers=1, texture=True, padding=False)
    near, D = (Discriminator(config, 3, shrink).double() for shrink in (1, 3))
    near.load_state_dict(D.state_dict())
    x = torch.randn(1, 3, 60, 72, dtype=torch.float64)
    means = x.unflatten(2, (20, 3)).unflatten(4, (24, 3)).mean((3, 5))
    torch.testing.assert_close(D(x), near(means))
    torch.testing.assert_close(D.features(x), near.features(means))


@pytest.mark.parametrize(("size", "shrink"), [(60, 1), (64, 1), (124, 1), (128, 2), (260, 4)])
def test_discriminators_see_a_size_or_a_bit_more(size: int, shrink: int) -> None:
    config = build_config({"data": {"size": size}, "discriminator": {"sees": 64}})
    assert config.shrink == shrink
    model = CycleGAN(config, 3, 3)
    assert model.D_a.shrink == model.D_b.shrink == shrink


def test_pixel_norm_against_its_formula() -> None:
    norm = norm_layer("pixel")(6).double()
    x = 3 * torch.randn(2, 6, 5, 4, dtype=torch.float64) + 1
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.uniform_(0.5, 2)
        norm.bias.add_(5)  # (sums that are nearly zero would have no relative precision)
        y = norm(x).numpy()
    weight, bias = (p.detach().numpy()[:, None, None] for p in norm.parameters())
    rows = x.numpy()
    scale = 1 / np.sqrt(rows.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(
        y, (rows - rows.mean(axis=1, keepdims=True)) * scale * weight + bias, rtol=1e-12
    )


def test_pixel_discriminator_sees_one_pixel() -> None:
    D = Discriminator(DiscriminatorConfig(architecture="pixel", width=4, norm="none"), 3)
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    D(x)[0, 0, 3, 5].backward()
    assert x.grad is not None
    assert x.grad.abs().sum(1).nonzero().tolist() == [[0, 3, 5]]


@pytest.mark.parametrize(
    ("architecture", "upsample"),
    [
        *(("resnet", upsample) for upsample in ("transpose", "resize", "antialias")),
        *(("unet", upsample) for upsample in ("transpose", "resize")),
        ("mobile", "transpose"),
    ],
)
@pytest.mark.parametrize("norm", ["instance", "batch", "group", "pixel", "none"])
def test_every_generator_keeps_the_size_and_learns(
    architecture: str, norm: str, upsample: str
) -> None:
    config = GeneratorConfig.model_validate(
        {"architecture": architecture, "norm": norm, "upsample": upsample,
         "width": 4, "blocks": 2, "levels": 4,
         "dropout": 0.0 if architecture == "mobile" else 0.1}
    )  # fmt: skip
    G = make_generator(config, 2, 5)
    initialise(G)
    y = G(torch.randn(2, 2, 48, 32))
    assert y.shape == (2, 5, 48, 32)
    assert y.abs().max() <= 1
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in G.parameters())


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_dropout_drops_while_training_only(architecture: str) -> None:
    config = GeneratorConfig.model_validate(
        {"architecture": architecture, "width": 4, "blocks": 1, "levels": 6, "dropout": 0.5}
    )
    G, x = make_generator(config, 3, 3), torch.rand(1, 3, 64, 64)
    assert not torch.equal(G(x), G(x))
    G.eval()
    assert torch.equal(G(x), G(x))


def test_a_unet_has_dropout_where_the_official_code_has_it() -> None:
    """On the way up, in the three levels of full width that follow the code's own."""
    config = GeneratorConfig(architecture="unet", width=2, levels=8, dropout=0.5)
    G = make_generator(config, 3, 3)
    assert isinstance(G, UnetGenerator)
    has = [any(isinstance(layer, torch.nn.Dropout) for layer in up) for up in G.up]
    assert has == [False] * 4 + [True] * 3 + [False]


def test_instance_norm_makes_one_batch_of_two_equal_two_batches() -> None:
    G = make_generator(GeneratorConfig(width=4, blocks=2), 3, 3).double()
    a, b = torch.randn(2, 2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(
        G(torch.cat([a, b])), torch.cat([G(a), G(b)]), rtol=1e-12, atol=1e-12
    )


def test_group_norm_has_32_groups_or_the_most_that_divide() -> None:
    groups = {channels: group_norm(channels).num_groups for channels in (128, 64, 48, 20, 66)}
    assert groups == {128: 32, 64: 32, 48: 24, 20: 20, 66: 22}


@pytest.mark.parametrize(("texture", "layers"), [(False, 5), (True, 10)])
def test_spectral_norm_bounds_the_slope_of_every_layer(texture: bool, layers: int) -> None:
    torch.manual_seed(0)
    D = Discriminator(DiscriminatorConfig(width=8, norm="spectral", texture=texture), 3)
    initialise(D)
    for layer in D.modules():
        if isinstance(layer, ParametrizationList) and layer.original.numel() > 1000:
            assert float(layer.original.detach().std()) == pytest.approx(0.02, rel=0.1)
    convolutions = [layer for layer in D.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == layers
    for most in (0.1, 0.05):  # each pass in training sharpens the estimate of the norm
        for layer in convolutions:
            slope = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2))
            assert slope == pytest.approx(1, abs=most)
        for _ in range(30):
            D(torch.randn(1, 3, 32, 32))


def test_blurring_before_halving_takes_out_what_would_alias() -> None:
    blur = BlurDown()
    torch.testing.assert_close(blur(torch.full((1, 2, 8, 8), 3.0)), torch.full((1, 2, 4, 4), 3.0))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 2, 8, 8)  # one pixel wide
    assert float(blur(stripes).abs().max()) < 1e-6
    assert float(stripes[..., ::2, ::2].abs().min()) == 1  # plain skipping sees a flat picture


def test_doubling_without_aliases_keeps_places() -> None:
    """Each new pixel takes three quarters of the one it lies in, as weights elsewhere expect."""
    x = torch.tensor([0.0, 1.0, 5.0])
    doubled = upsample("antialias", 1, 1)[0](x.expand(1, 1, 3, 3))  # type: ignore[index]
    assert doubled[0, 0, 2].tolist() == [0, 0.25, 0.75, 2, 4, 5]


def test_as_many_halvings_as_said() -> None:
    for halvings in (1, 2, 3):
        config = GeneratorConfig(width=4, blocks=2, halvings=halvings)
        G = ResnetGenerator(config, 3, 3)
        x = torch.rand(1, 3, 24, 16)
        assert G.encode(x).shape == (1, 4 * 2**halvings, 24 // 2**halvings, 16 // 2**halvings)
        assert G(x).shape == x.shape
        features = G.features(x)
        assert [layer.shape[1] for layer in features] == G.feature_channels()
        assert len(features) == 1 + halvings + 2


def test_features_stand_before_the_relu_without_a_norm_too() -> None:
    G = ResnetGenerator(GeneratorConfig(width=4, blocks=1, norm="none"), 3, 3)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(G.features(x)[1], G.encode[:5](x))


def test_a_retouching_generator_without_a_correction_changes_nothing() -> None:
    G = make_generator(GeneratorConfig(width=4, blocks=1, output="retouch"), 3, 3).eval()
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    last = [layer for layer in G.modules() if isinstance(layer, nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        torch.testing.assert_close(G(x), x, rtol=0, atol=1e-6)
        last.bias.fill_(0.5)
        torch.testing.assert_close(G(x), (x + 0.5).clamp(-1, 1))
        torch.testing.assert_close(G.train()(x), x + 0.5)  # (a clamp would stop the gradient)
        last.bias.fill_(5)
        assert float(G.eval()(x).max()) == 1  # pictures stay in range


@pytest.mark.parametrize(
    ("change", "stays"), [(0.0, 0.0), (0.01, 0.01), (0.1, 0.5), (0.9, 81 / 82)]
)
def test_small_changes_fade_in_use(change: float, stays: float) -> None:
    """The closed form, for a network that paints one colour; in training all of it counts."""
    config = GeneratorConfig(width=4, blocks=1, output="retouch", least_change=0.1, strength=1.2)
    G = make_generator(config, 3, 3).eval()
    last = [layer for layer in G.modules() if isinstance(layer, nn.Conv2d)][-1]
    assert last.bias is not None
    x = torch.zeros(1, 3, 16, 16)
    colour = torch.tensor([0.5, -1.0, 1.5]) * change  # of mean size ``change``
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(colour)
        expected = (1.2 * stays * colour).clamp(-1, 1)[None, :, None, None]
        torch.testing.assert_close(G(x), expected.expand_as(x), atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(G.train()(x), colour[None, :, None, None].expand_as(x))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("method", "networks"), [("cyclegan", 4), ("cut", 3)])
def test_all_networks_start_with_the_published_weights(
    method: str, networks: int, norm: str
) -> None:
    """N(0, 0.02), biases 0; scales of norm layers N(1, 0.02)."""
    config = build_config(
        {
            "method": method,
            "generator": {"width": 32, "blocks": 2, "norm": norm},
            "discriminator": {"width": 32, "norm": norm},
            "training": {"steps": 1},
        }
    )
    torch.manual_seed(0)
    model = make_model(config, 3, 3)
    assert len(list(model.children())) == networks
    kinds = {
        0.0: (nn.Conv2d, nn.ConvTranspose2d, nn.Linear),
        1.0: (nn.BatchNorm2d, nn.GroupNorm),
    }
    for network in model.children():
        for mean, kind in kinds.items():
            layers = [layer for layer in network.modules() if isinstance(layer, kind)]
            for layer in layers:
                assert float(layer.weight.detach().mean()) == pytest.approx(mean, abs=0.02)
                if layer.weight.numel() > 1000:
                    assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.15)
                assert layer.bias is None or not layer.bias.detach().any()
            scales = [layer.weight.detach().flatten() for layer in layers]
            if scales:
                assert float(torch.cat(scales).std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.skipif(not SHARED.exists(), reason="the reference outputs are not here")
def test_generator_gives_the_outputs_of_the_fields_reference_implementation() -> None:
    import numpy as np

    folder = SHARED / "reference" / "official_layout"
    theirs = torch.load(folder / "latest_net_G_A.pth", weights_only=True)
    G = make_generator(GeneratorConfig(width=8, blocks=9), 3, 3).eval()
    ours = G.state_dict()
    # Both lists go from the first layer to the last.
    assert [tuple(v.shape) for v in ours.values()] == [tuple(v.shape) for v in theirs.values()]
    G.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    known = np.load(folder / "pictures_and_outputs.npz")
    x = torch.from_numpy(known["pictures_uint8_nhwc"]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        y = G(x)
    torch.testing.assert_close(y, torch.from_numpy(known["outputs_float_nchw"]), rtol=0, atol=1e-5)


@pytest.mark.skipif(not SHARED.exists(), reason="the reference weights are not here")
def test_discriminator_has_the_layers_of_the_fields_reference_implementation() -> None:
    path = SHARED / "reference" / "official_layout" / "latest_net_D_A.pth"
    theirs = torch.load(path, weights_only=True)
    D = Discriminator(DiscriminatorConfig(width=8), 3)
    assert [tuple(v.shape) for v in D.state_dict().values()] == [
        tuple(v.shape) for v in theirs.values()
    ]


@pytest.mark.parametrize("settings", [{"width": 8, "blocks": 1}, UNET], ids=["resnet", "unet"])
def test_outputs_are_no_16_bit_numbers_where_convolutions_compute_in_16(
    settings: dict[str, Any],
) -> None:
    """(D would see their grid.)"""
    torch.manual_seed(0)
    G = make_generator(GeneratorConfig(**settings), 3, 3).eval()
    for weight in G.parameters():
        weight.data *= 4
    twin = copy_in_bf16(nn.Sequential(G)).model
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cast = G(x)
    for y in (twin(x).detach(), cast):
        assert y.dtype == torch.float32
        assert float(y.std()) > 0.01
        assert float((y == y.bfloat16()).float().mean()) < 0.1
