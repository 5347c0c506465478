"""Convolutions of 8-bit numbers: exact where levels are, and near the plain networks elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, needs_vnni
from PIL import Image
from torch import nn

from diptych import device
from diptych.config import GeneratorConfig
from diptych.data.pixels import RGB
from diptych.errors import UsageError
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.networks import initialise, make_generator
from diptych.networks.fast.eight_bits import EightBitConv
from diptych.networks.fast.norms import InstanceNorm
from diptych.networks.fast.resize import ResizeConv
from diptych.networks.fast.transposed import TransposedConv
from diptych.networks.fast.wide import WideConv
from diptych.networks.fast.winograd import Conv3x3
from diptych.networks.fast.with_eight_bits import with_eight_bit_convolutions
from diptych.translation.translator import Translator, load

pytestmark = needs_vnni

LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "stride": lambda: [nn.Conv2d(5, 7, 3, stride=2, padding=1)],
    "of a U-Net": lambda: [nn.Conv2d(5, 7, 4, stride=2, padding=1)],
    "mirrored": lambda: [nn.ReflectionPad2d(1), Conv3x3(5, 7)],
    "first": lambda: [nn.ReflectionPad2d(3), WideConv(3, 9, 7)],
    "last": lambda: [nn.ReflectionPad2d(3), WideConv(9, 3, 7)],
    "doubling": lambda: [ResizeConv(5, 7)],
    "transposed": lambda: [TransposedConv(5, 7, 3)],
    "transposed, of a U-Net": lambda: [TransposedConv(5, 7, 4)],
    "mixing channels": lambda: [nn.Conv2d(5, 7, 1)],
}


def in_levels(network: nn.Sequential) -> nn.Module:
    """What is computed of it in 8 bits, which must be something."""
    found = with_eight_bit_convolutions(network.eval())
    assert any(isinstance(layer, EightBitConv) for layer in found.modules())
    return found


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_what_is_made_of_levels_is_convolved_exactly(kind: str, relu: bool) -> None:
    """Weights and features of whole numbers of steps, which rounding leaves as they are."""
    torch.manual_seed(0)
    plain = nn.Sequential(*([nn.ReLU()] if relu else []), *LAYERS[kind]())
    layer = next(one for one in plain.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d))
    weight = torch.randint(-127, 128, layer.weight.shape)
    weight[0 if isinstance(layer, nn.ConvTranspose2d) else (slice(None), 0)] = 127
    if kind == "doubling":  # (would add up several: no whole numbers of steps)
        weight *= torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    layer.weight.copy_(weight * 0.001)
    x = torch.randint(-50 if relu else -128, 256 if relu else 128, (2, 9, 16, 12))
    x[:, 0, 0, :2] = torch.tensor([255 if relu else 127, -50 if relu else -128])
    x = (x[:, : layer.in_channels] * torch.tensor([0.02, 0.5]).view(2, 1, 1, 1)).float()
    found = in_levels(plain)(x.contiguous(memory_format=torch.channels_last))
    exact = copy.deepcopy(plain).double()(x.double())
    assert found.shape == exact.shape
    assert (found - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_all_else_is_rounded_to_levels(kind: str, norm: bool) -> None:
    """Features of several sizes, each picture of its own; with the norm and ReLU before them."""
    torch.manual_seed(0)
    layers = LAYERS[kind]()
    layer = next(
        one for one in nn.Sequential(*layers).modules()
        if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)
    )  # fmt: skip
    channels = layer.in_channels
    plain = nn.Sequential(*([InstanceNorm(channels), nn.ReLU()] if norm else []), *layers)
    x = torch.randn(3, channels, 32, 24) * torch.tensor([0.01, 1, 100]).view(3, 1, 1, 1) + 3
    x = x.contiguous(memory_format=torch.channels_last)
    found, exact = in_levels(plain)(x), copy.deepcopy(plain).double()(x.double())
    for one, expected, alone in zip(found, exact, x.split(1), strict=True):
        assert 1e-4 < (one - expected).norm() / expected.norm() < 2e-2
        assert torch.equal(in_levels(plain)(alone)[0], one)


ARCHITECTURES = {
    "repaint": GeneratorConfig(width=8, blocks=2),
    "paper": GeneratorConfig(width=8, blocks=2, upsample="transpose", dropout=0.5),
    "laptop": GeneratorConfig(
        width=8, blocks=2, norm="pixel", output="retouch", least_change=0.1, upsample="resize"
    ),
    "batch norm": GeneratorConfig(width=8, blocks=2, norm="batch"),
    "no norm": GeneratorConfig(width=8, blocks=2, norm="none"),
    "smoother": GeneratorConfig(width=8, blocks=2, downsample="antialias", upsample="antialias"),
    "U-Net": GeneratorConfig(architecture="unet", width=8, levels=4),
    "mobile": GeneratorConfig(architecture="mobile", width=8, blocks=2),
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth, with noise: of all 256 values."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
    large = Image.fromarray(noise.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.asarray(large)


def translators(config: GeneratorConfig) -> tuple[Translator, Translator]:
    """The same random network, in float32 and in 8 bits."""
    torch.manual_seed(0)
    G = make_generator(config, 3, 3)
    initialise(G)
    info = ModelInfo(config, RGB, RGB, 64, "crop", "white", 0)
    pair = GeneratorPair(G.eval(), None, info)
    cpu = torch.device("cpu")
    return Translator(pair, cpu, precision="float32"), Translator(pair, cpu, precision="int8")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_translate_alike_in_eight_bits(name: str) -> None:
    """Random ones, which pass all noise on, of pictures whose sides are no multiples of anything.

    No picture changes with those beside it. One colour alone is translated too; what instance norms
    make of it comes from rounding, in float32 as well, and is not compared.
    """
    exact, quick = translators(ARCHITECTURES[name])
    pictures = [picture(61, 83, seed) for seed in range(2)]
    pictures += [np.full((61, 83, 3), colour, np.uint8) for colour in (0, 128, 255)]
    expected, found = exact.arrays(pictures, "b"), quick.arrays(pictures, "b")
    by_instance = any(
        isinstance(part, nn.InstanceNorm2d) for part in exact.ways["b"].generator.modules()
    )
    for one, other in list(zip(found, expected, strict=True))[: 2 if by_instance else None]:
        assert np.abs(one.astype(int) - other).mean() < 1.5  # levels of 255
    assert any((one != other).any() for one, other in zip(found, expected, strict=True))
    for one, alone in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(quick.arrays([alone], "b")[0], one)


def test_a_trained_model_translates_files_in_eight_bits(
    trained: Path, towns: Path, tmp_path: Path, diptych: Command
) -> None:
    for precision in ("float32", "int8"):
        done = diptych("translate", trained, towns / "testA", "-o", tmp_path / precision,
                       "--precision", precision)  # fmt: skip
        assert done.returncode == 0, done.stderr
    exact, quick = (
        np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / one).iterdir())])
        for one in ("float32", "int8")
    )
    assert 0 < np.abs(exact.astype(int) - quick).mean() < 1.5


def test_eight_bits_are_for_processors_that_multiply_them(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    monkeypatch.setattr(device, "multiplies_bytes", lambda: False)
    with pytest.raises(UsageError, match=r"precision int8 needs .* \(VNNI\): leave it out here"):
        load(trained, "cpu", precision="int8")
    with pytest.raises(UsageError, match="precision int8 is for the CPU: leave it out here"):
        device.choose_translating_precision("int8", torch.device("cuda"))
