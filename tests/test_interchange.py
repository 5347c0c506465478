"""Weights of the field's repositories, in and out: the same pictures, the same bytes."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED, TINY_OPTIONS, Command
from official_networks import resnet, unet
from PIL import Image
from torch import Tensor, nn

import diptych as package
from diptych.errors import DiptychError, UsageError
from diptych.interchange.model import import_model, latest
from diptych.interchange.official import (
    ForeignDiscriminator,
    ForeignGenerator,
    official_tensors,
    rebuild,
)
from diptych.model_file import load_model
from diptych.network_config import GeneratorConfig
from diptych.networks import initialise, make_generator
from diptych.training import choice
from diptych.training.choice import make_config

REFERENCE = SHARED / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.exists(), reason="no reference weights here")

GENERATORS: dict[str, Callable[[], nn.Module]] = {
    "resnet, 6 blocks": lambda: resnet(8, 6),
    "resnet, 9 blocks, grey": lambda: resnet(4, 9, channels=1),
    "resnet, dropout": lambda: resnet(4, 2, dropout=True),
    "resnet, batch norm": lambda: resnet(4, 3, batch=True),
    "resnet, batch norm, dropout": lambda: resnet(4, 3, batch=True, dropout=True),
    "CUT": lambda: resnet(8, 9, blur=True),
    "CUT, batch norm": lambda: resnet(4, 2, blur=True, batch=True),
    "unet 128": lambda: unet(4, 7),
    "unet 256, batch norm": lambda: unet(4, 8, batch=True),
}


def trained(network: nn.Module) -> nn.Module:
    """With weights and statistics that are no longer those of the start."""
    torch.manual_seed(3)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point() and not name.endswith(".filt"):
            value.normal_(0, 0.2)
    return network.eval()


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_gives_the_same_pictures_and_goes_back_unchanged(
    name: str, tmp_path: Path
) -> None:
    theirs = trained(GENERATORS[name]())
    torch.save(theirs.state_dict(), tmp_path / "G.pth")
    found = rebuild(tmp_path / "G.pth")
    assert isinstance(found, ForeignGenerator)
    size = 256 if "unet" in name else 32
    x = torch.rand(1, found.channels_in, size, size) * 2 - 1
    with torch.no_grad():
        # In float64, where only a layer in the wrong place can make a difference.
        ours = found.network.double()(x.double())
        torch.testing.assert_close(ours, theirs.double()(x.double()), rtol=0, atol=1e-9)

    found.network.float(), theirs.float()
    back = official_tensors(found.network, found.config)
    again = GENERATORS[name]()
    again.load_state_dict(back, strict=True)
    for key, value in theirs.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize(
    "settings",
    [{}, {"norm": "batch"}, {"downsample": "antialias", "upsample": "antialias", "norm": "batch"},
     {"architecture": "unet", "levels": 5, "norm": "batch"}],
)  # fmt: skip
def test_our_generators_go_out_and_come_in(settings: dict[str, Any], tmp_path: Path) -> None:
    """Also those with biases before batch norm, which theirs have not: its mean takes them up."""
    config = GeneratorConfig.model_validate({"width": 4, "blocks": 2, **settings})
    ours = make_generator(config, 3, 3)
    initialise(ours)
    trained(ours)
    if config.architecture == "unet":
        with pytest.raises(DiptychError, match="has no bias in its first"):
            official_tensors(ours, config)
        for name in ("down.0.0.bias", "down.4.1.bias"):
            ours.get_parameter(name).data.zero_()
    torch.save(official_tensors(ours, config), tmp_path / "G.pth")
    found = rebuild(tmp_path / "G.pth")
    assert isinstance(found, ForeignGenerator)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(found.network(x), ours(x), rtol=0, atol=1e-5)


@needs_reference
def test_the_reference_outputs_are_met(tmp_path: Path, diptych: Command) -> None:
    folder, model = REFERENCE / "official_layout", tmp_path / "model.safetensors"
    done = diptych("import", folder / "latest_net_G_A.pth", folder / "latest_net_D_A.pth",
                   "-o", model)  # fmt: skip
    assert done.returncode == 0, done.stderr
    known = np.load(folder / "pictures_and_outputs.npz")
    x = torch.from_numpy(known["pictures_uint8_nhwc"]).permute(0, 3, 1, 2).float() / 127.5 - 1
    y = package.load(model).to_b(x)
    torch.testing.assert_close(y, torch.from_numpy(known["outputs_float_nchw"]), rtol=0, atol=1e-5)
    assert load_model(model, torch.device("cpu")).D_b is not None

    exported = diptych("export", model, "--format", "official", "-o", tmp_path / "out")
    assert exported.returncode == 0, exported.stderr
    theirs = torch.load(folder / "latest_net_G_A.pth", weights_only=True)
    back = torch.load(tmp_path / "out" / "latest_net_G_A.pth", weights_only=True)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)


@needs_reference
def test_the_compressed_generator_makes_its_zebra(tmp_path: Path, diptych: Command) -> None:
    folder, model = REFERENCE / "gan_compression_horse2zebra", tmp_path / "model.safetensors"
    done = diptych("import", folder / "latest_net_G.pth", "-o", model)
    assert done.returncode == 0, done.stderr
    assert "356,867 parameters, from A to B only" in " ".join(done.stdout.split())
    back = diptych("translate", model, folder / "horse.png", "-o", tmp_path / "out", "--to", "a")
    assert back.returncode == 2
    assert "give both generators, G_A and G_B, to diptych import" in back.stderr
    shown = diptych("translate", model, folder / "horse.png", "-o", tmp_path / "out")
    assert shown.returncode == 0, shown.stderr
    ours, theirs = (
        np.asarray(Image.open(path).convert("RGB")).astype(float)
        for path in (tmp_path / "out" / "horse.png", folder / "horse_translated.png")
    )
    assert np.abs(ours - theirs).mean() < 1
    again = tmp_path / "again"
    assert diptych("export", model, "--format", "official", "-o", again).returncode == 0
    first = torch.load(folder / "latest_net_G.pth", weights_only=True)
    second = torch.load(again / "latest_net_G_A.pth", weights_only=True)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_old_and_wrapped_files(tmp_path: Path) -> None:
    """Statistics of instance norm, names from DataParallel, a state_dict within a checkpoint."""
    network = trained(resnet(4, 2))
    plain = network.state_dict()
    old: dict[str, Tensor] = {}
    for key, value in plain.items():
        old[f"module.{key}"] = value
        if key in ("model.1.bias", "model.4.bias"):
            place = f"module.model.{int(key.split('.')[1]) + 1}"
            old[f"{place}.running_mean"] = torch.zeros_like(value)
            old[f"{place}.running_var"] = torch.ones_like(value)
            old[f"{place}.num_batches_tracked"] = torch.tensor(3)
    torch.save({"epoch": 200, "state_dict": old}, tmp_path / "old.pth")
    found = rebuild(tmp_path / "old.pth")
    assert isinstance(found, ForeignGenerator)
    assert found.config.norm == "instance"
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        ours = found.network.double()(x)
        torch.testing.assert_close(ours, network.double()(x), rtol=0, atol=1e-9)


def test_batch_norm_of_a_pytorch_that_counted_no_batches(tmp_path: Path) -> None:
    """Before 0.4.1; the count is of no use to us."""
    theirs = trained(resnet(4, 2, batch=True))
    counted = "num_batches_tracked"
    old = {key: value for key, value in theirs.state_dict().items() if not key.endswith(counted)}
    torch.save(old, tmp_path / "old.pth")
    found = rebuild(tmp_path / "old.pth")
    assert isinstance(found, ForeignGenerator)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        ours = found.network.double()(x)
        torch.testing.assert_close(ours, theirs.double()(x), rtol=0, atol=1e-9)
    counts = [n for key, n in found.network.state_dict().items() if key.endswith(counted)]
    assert counts
    assert not any(counts)


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d])
def test_discriminators(norm: Any, tmp_path: Path) -> None:
    bias = norm is nn.InstanceNorm2d
    lists = {
        "model": [
            nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(8, 16, 4, 2, 1, bias=bias), norm(16), nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, 1, 1, bias=bias), norm(32), nn.LeakyReLU(0.2),
            nn.Conv2d(32, 1, 4, 1, 1),
        ],
        "net": [
            nn.Conv2d(3, 8, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 1, bias=bias), norm(16),
            nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 1, bias=bias),
        ],
    }  # fmt: skip
    for name, layers in lists.items():
        theirs = trained(nn.Sequential(*layers))
        tensors = {f"{name}.{key}": value for key, value in theirs.state_dict().items()}
        torch.save(tensors, tmp_path / "D.pth")
        found = rebuild(tmp_path / "D.pth")
        assert isinstance(found, ForeignDiscriminator)
        assert found.config.architecture == ("patch" if name == "model" else "pixel")
        x = torch.rand(1, 3, 48, 48)
        with torch.no_grad():
            torch.testing.assert_close(found.network(x), theirs(x), rtol=0, atol=1e-5)


def official_discriminator(channels: int) -> nn.Module:
    lists = nn.Sequential(
        nn.Conv2d(channels, 8, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(8, 16, 4, 1, 1), nn.InstanceNorm2d(16), nn.LeakyReLU(0.2),
        nn.Conv2d(16, 1, 4, 1, 1),
    )  # fmt: skip
    return nn.ModuleDict({"model": lists})


def test_every_network_of_a_folder_gets_its_place(tmp_path: Path) -> None:
    """G_A translates from A to B, and D_A judges B."""
    networks = {"G_A": resnet(4, 2), "G_B": resnet(4, 2)}
    networks |= {"D_A": official_discriminator(3), "D_B": official_discriminator(3)}
    for seed, (name, network) in enumerate(networks.items()):
        torch.manual_seed(seed)
        for value in network.parameters():
            nn.init.normal_(value, 0, 0.2)
        torch.save(network.state_dict(), tmp_path / f"latest_net_{name}.pth")
    pair = import_model(latest(tmp_path))
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        for ours, name in (("G_ab", "G_A"), ("G_ba", "G_B"), ("D_b", "D_A"), ("D_a", "D_B")):
            theirs = networks[name].eval()
            expected = theirs(x) if name[0] == "G" else theirs["model"](x)  # type: ignore[index]
            torch.testing.assert_close(pair.networks[ours](x), expected, rtol=0, atol=1e-4)
    assert (pair.info.preprocess, pair.info.background) == ("resize-crop", "white")


def test_weights_without_norm_are_told_by_their_missing_biases(tmp_path: Path) -> None:
    theirs = trained(resnet(4, 2, plain=True))
    torch.save(theirs.state_dict(), tmp_path / "G.pth")
    found = rebuild(tmp_path / "G.pth")
    assert found.config.norm == "none"
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        ours = found.network.double()(x)
        torch.testing.assert_close(ours, theirs.double()(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("there", "reason"),
    [(["G_B"], "no latest_net_G_A.pth .* to use G_B from A to B give that file"),
     (["D_A"], "no latest_net_G_A.pth or latest_net_G.pth")],
)  # fmt: skip
def test_a_folder_without_its_first_generator(
    there: list[str], reason: str, tmp_path: Path
) -> None:
    for name in there:
        torch.save(trained(resnet(4, 2)).state_dict(), tmp_path / f"latest_net_{name}.pth")
    with pytest.raises(DiptychError, match=reason):
        latest(tmp_path)


def test_names_that_say_otherwise_than_the_order(tmp_path: Path) -> None:
    networks = {"G_A": resnet(4, 2), "G_B": resnet(4, 2), "D_B": official_discriminator(3)}
    paths = {name: tmp_path / f"latest_net_{name}.pth" for name in networks}
    for name, network in networks.items():
        torch.save(trained(network).state_dict(), paths[name])
    assert latest(tmp_path) == [paths["G_A"], paths["G_B"]]  # (D_B alone would judge B)
    with pytest.raises(UsageError, match="give G_A before G_B"):
        import_model([paths["G_B"], paths["G_A"]])
    with pytest.raises(UsageError, match="D_B without D_A"):
        import_model([paths["G_A"], paths["D_B"]])
    assert import_model([paths["G_B"]]).ways == ("b",)  # (whoever wants it so)


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "unet", "width": 2, "levels": 4},
        {"width": 2, "blocks": 0},
        {"width": 2, "blocks": 1, "halvings": 1},
        {"width": 2, "blocks": 1, "norm": "none"},
        {"width": 2, "blocks": 1, "norm": "pixel"},
        {"width": 2, "blocks": 1, "output": "retouch"},
        {"width": 2, "blocks": 1, "upsample": "resize"},
    ],
)
def test_networks_that_the_official_code_cannot_build_are_not_written(
    config: dict[str, Any],
) -> None:
    made = GeneratorConfig.model_validate(config)
    with pytest.raises(DiptychError, match="the official code has no such generator"):
        official_tensors(make_generator(made, 3, 3), made)


def test_a_norm_that_is_given_counts(tmp_path: Path) -> None:
    torch.save(trained(resnet(4, 2)).state_dict(), tmp_path / "G.pth")
    torch.save(trained(official_discriminator(3)).state_dict(), tmp_path / "D.pth")
    for name in ("G.pth", "D.pth"):
        assert rebuild(tmp_path / name).config.norm == "instance"
        plain = rebuild(tmp_path / name, norm="none")
        assert plain.config.norm == "none"
        assert not any(isinstance(layer, nn.InstanceNorm2d) for layer in plain.network.modules())


def test_a_training_goes_on_from_imported_weights(
    towns: Path, tmp_path: Path, diptych: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, network in (("G_A", resnet(4, 2)), ("G_B", resnet(4, 2))):
        torch.save(trained(network).state_dict(), tmp_path / f"{name}.pth")
    model, run = tmp_path / "model.safetensors", tmp_path / "run"
    files = (tmp_path / "G_A.pth", tmp_path / "G_B.pth")
    assert diptych("import", *files, "-o", model).returncode == 0
    again = diptych("import", model, "-o", tmp_path / "twice.safetensors")
    assert "is a model of diptych already: use it as it is" in again.stderr
    options = [*TINY_OPTIONS, "--steps", "1", "--set", "optimizer.rate=1e-9"]
    options += ["--set", "generator.blocks=2", "--set", "training.ema_half_life=0"]
    done = diptych("train", "--data", towns, "--run", run, "--from", model, *options)
    assert done.returncode == 0, done.stderr
    before, after = (load_model(path, torch.device("cpu")) for path in (model, run / model.name))
    for x, y in zip(before.generators, after.generators, strict=True):
        for p, q in zip(x.parameters(), y.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-7)
    assert diptych("report", run).returncode == 0
    assert f"Started from {model}" in (run / "report.html").read_text()
    assert "has no discriminator of A and no discriminator of B" in " ".join(done.stdout.split())
    # The folder does for its files, and a model's size is that of the training that follows.
    (tmp_path / "exp").mkdir()
    for name in ("G_A", "G_B"):
        shutil.copy(tmp_path / f"{name}.pth", tmp_path / "exp" / f"latest_net_{name}.pth")
    again = tmp_path / "again.safetensors"
    assert diptych("import", tmp_path / "exp", "-o", again, "--size", "48").returncode == 0
    assert load_model(again, torch.device("cpu")).info.size == 48
    assert make_config(start_from=again).data.size == 48
    assert make_config("repaint", start_from=again).data.size == 64
    monkeypatch.setattr(choice, "choose_device", lambda name: torch.device("cuda"))
    on_a_gpu = make_config(start_from=again)
    assert (on_a_gpu.preset, on_a_gpu.data.size) == ("paper", 48)
    large = {"generator": {"architecture": "unet"}, "discriminator": {"layers": 4}}
    assert make_config(settings=large).preset == "paper"  # (too large for what a CPU takes)


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


def test_what_is_not_such_a_file_is_refused_with_the_reason(
    tmp_path: Path, trained: Path, diptych: Command
) -> None:
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weight": Bomb()}, tmp_path / "whole.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    packed = torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)
    torch.save({"weight": packed}, tmp_path / "packed.pth")
    torch.save({"weight": torch.eye(3).to_sparse()}, tmp_path / "sparse.pth")
    torch.save({"weight": torch.zeros(3).to(torch.float8_e4m3fn)}, tmp_path / "float8.pth")
    torch.save({"weight": torch.zeros(3, device="meta")}, tmp_path / "meta.pth")
    torch.save({"weight": torch.nested.nested_tensor([torch.ones(2)])}, tmp_path / "nested.pth")
    far = {**resnet(4, 2).state_dict(), f"model.{10**20}.conv_block.1.weight": torch.zeros(1)}
    torch.save(far, tmp_path / "far.pth")
    cut = resnet(4, 2).state_dict()
    del cut["model.11.conv_block.5.weight"]
    torch.save(cut, tmp_path / "cut.pth")
    half = resnet(4, 2).state_dict()  # (without most of them it would be of no norm)
    del half["model.4.bias"]
    torch.save(half, tmp_path / "half.pth")
    endless = resnet(4, 2).state_dict()
    last = max(endless, key=lambda name: int(name.split(".")[1]))
    del endless[last.replace("weight", "bias")]
    torch.save(endless, tmp_path / "last.pth")
    extra = {**resnet(4, 2).state_dict(), "model.99.weight": torch.zeros(1, 1, 1, 1)}
    torch.save(extra, tmp_path / "extra.pth")
    failed = resnet(4, 2).state_dict()
    failed["model.4.weight"][0, 0, 0, 0] = float("nan")
    torch.save(failed, tmp_path / "failed.pth")
    cases = {
        "failed.pth": "holds NaN or infinity (model.4.weight)",
        "half.pth": "model.4.bias is missing", "last.pth": "bias is missing",
        "bomb.pth": "is not", "whole.pth": "which could run programs", "list.pth": "state_dict",
        "other.pth": "no network that is known", "text.pth": "is not a .pth file",
        "cut.pth": "model.11.conv_block.5.weight is missing", "none.pth": "there is no file",
        "extra.pth": "(model.99.", "packed.pth": "holds quantised numbers",
        "sparse.pth": "holds sparse numbers", "float8.pth": "no network that is known",
        "meta.pth": "holds no numbers", "nested.pth": "nested", "far.pth": "no network",
    }  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(DiptychError) as caught:
            import_model([tmp_path / name])
        assert words in str(caught.value), name
        assert len(str(caught.value).splitlines()) == 1
    for name, blocks in (("a.pth", 2), ("b.pth", 3)):
        torch.save(resnet(4, blocks).state_dict(), tmp_path / name)
    with pytest.raises(UsageError, match="differ in architecture"):
        import_model([tmp_path / "a.pth", tmp_path / "b.pth"])
    out = tmp_path / "model.safetensors"
    assert diptych("import", tmp_path / "a.pth", "-o", out).returncode == 0
    again = diptych("import", tmp_path / "a.pth", "-o", out)
    assert again.returncode == 2
    assert "exists" in again.stderr
    resize = diptych("export", trained, "--format", "official", "-o", tmp_path / "out")
    assert resize.returncode == 1
    assert "the official code has no such generator" in resize.stderr
