"""Convolutions of 8-bit numbers: exact where levels are, and near the plain networks elsewhere."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED, Command, needs_vnni
from PIL import Image
from torch import nn

from diptych.data.pixels import RGB
from diptych.errors import UsageError
from diptych.host import device
from diptych.interchange.model import import_model
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.network_config import GeneratorConfig
from diptych.networks import initialise, make_generator
from diptych.networks.fast.eight_bits import AT_ONCE, EightBitConv
from diptych.networks.fast.norms import InstanceNorm
from diptych.networks.fast.wide import WideConv
from diptych.networks.fast.winograd import Conv3x3
from diptych.networks.fast.with_eight_bits import with_eight_bit_convolutions
from diptych.translation.translator import Translator, load

pytestmark = needs_vnni

ZEBRA = SHARED / "reference" / "gan_compression_horse2zebra"

LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "stride": lambda: [nn.Conv2d(5, 7, 3, stride=2, padding=1)],
    "of a U-Net": lambda: [nn.Conv2d(5, 7, 4, stride=2, padding=1)],
    "mirrored": lambda: [nn.ReflectionPad2d(1), Conv3x3(5, 7)],
    "first": lambda: [nn.ReflectionPad2d(3), WideConv(3, 9, 7)],
    "last": lambda: [nn.ReflectionPad2d(3), WideConv(9, 3, 7)],
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
    layer = next(one for one in plain if isinstance(one, nn.Conv2d))
    weight = torch.randint(-127, 128, layer.weight.shape)
    weight[:, 0] = 127
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
    channels = next(one.in_channels for one in layers if isinstance(one, nn.Conv2d))
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

    No picture depends on those beside it. One colour alone is translated too; what instance norms
    make of it comes from rounding, in float32 as well, and is not compared.
    """
    exact, quick = translators(ARCHITECTURES[name])
    pictures = [picture(61, 83, seed) for seed in range(2)]
    pictures += [np.full((61, 83, 3), colour, np.uint8) for colour in (0, 128, 255)]
    expected, found = exact.arrays(pictures, "b"), quick.arrays(pictures, "b")
    by_instance = any(
        isinstance(part, nn.InstanceNorm2d) for part in exact.way_to["b"].generator.modules()
    )
    for one, other in list(zip(found, expected, strict=True))[: 2 if by_instance else None]:
        assert np.abs(one.astype(int) - other).mean() < 1.5  # levels of 255
    assert any((one != other).any() for one, other in zip(found, expected, strict=True))
    for one, alone in list(zip(found, pictures, strict=True))[:2]:
        again = quick.arrays([alone], "b")[0].astype(int)
        assert np.abs(one - again).mean() < 0.01  # (what is no convolution of these may round)


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
    with pytest.raises(UsageError, match="precision int8 is for the CPU: leave it out on a GPU"):
        device.choose_translating_precision("int8", torch.device("cuda"))


@pytest.mark.parametrize("kind", ["float64", "bfloat16", "meta", "autocast"])
def test_what_a_program_has_set_changes_nothing(trained: Path, kind: str) -> None:
    pictures = [picture(32, 32)]
    expected = load(trained, "cpu", precision="int8").arrays(pictures, "b")
    before = torch.get_default_dtype()
    try:
        if kind in ("float64", "bfloat16"):
            torch.set_default_dtype(getattr(torch, kind))
        elsewhere = torch.device("meta") if kind == "meta" else nullcontext()
        with elsewhere, torch.autocast("cpu", enabled=kind == "autocast"):
            found = load(trained, "cpu", precision="int8").arrays(pictures, "b")
    finally:
        torch.set_default_dtype(before)
    np.testing.assert_array_equal(found, expected)


def test_it_can_be_copied_and_pickled(trained: Path) -> None:
    translator = load(trained, "cpu", precision="int8")
    pictures = [picture(32, 32)]
    expected = translator.arrays(pictures, "b")
    for other in (copy.deepcopy(translator), pickle.loads(pickle.dumps(translator))):
        np.testing.assert_array_equal(other.arrays(pictures, "b"), expected)


def test_what_is_no_number_stays_none() -> None:
    """As in float32: a network whose numbers are too large must not end a batch, or look well."""
    _, quick = translators(ARCHITECTURES["no norm"])
    x = torch.zeros(2, 3, 32, 32)
    x[1, 0, 5, 5] = float("nan")
    found = quick.tensor(x, "b")
    assert found[0].isfinite().all()
    assert found[1].isnan().any()


@pytest.mark.skipif(not ZEBRA.exists(), reason="the reference generator is not here")
def test_a_generator_that_was_trained_long() -> None:
    """GAN Compression's horses to zebras, whose many sharp stripes pass on more than others."""
    pair, cpu = import_model([ZEBRA / "latest_net_G.pth"]), torch.device("cpu")
    horse = np.asarray(Image.open(ZEBRA / "horse.png").convert("RGB"))
    exact, quick = (
        Translator(pair, cpu, precision=one).arrays([horse], "b")[0] for one in ("float32", "int8")
    )
    assert 0.5 < np.abs(exact.astype(int) - quick).mean() < 3.5  # (NOTES.md: 2.5 on the average)


@torch.no_grad()
def test_rows_of_more_numbers_than_are_taken_at_once() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(256, 1, 3, padding=1))
    x = torch.randn(1, 256, 5, AT_ONCE // 256 + 9).contiguous(memory_format=torch.channels_last)
    found, exact = in_levels(plain)(x), plain(x)
    assert (found - exact).norm() < 2e-2 * exact.norm()
