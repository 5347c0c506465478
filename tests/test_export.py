"""Exported models give the pictures that diptych gives, where there is no diptych."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import SHARED, Command
from PIL import Image

import diptych as package
from diptych.data.pixels import RGB, PixelFormat
from diptych.errors import DiptychError, UsageError
from diptych.interchange.deploy import deploy
from diptych.interchange.examples import RUNTIMES
from diptych.interchange.program import AnySize, ExportedWay, Pictures, one_way, trace
from diptych.model_file import GeneratorPair, ModelInfo, load_model, save_model
from diptych.network_config import GeneratorConfig
from diptych.networks import make_generator
from diptych.sides import Side
from diptych.translation.translator import Translator

# (NumPy's remark about how Keras keeps its weights.)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
ROOT = Path(__file__).parents[1]
HORSES = SHARED / "data" / "horse2zebra" / "testA"
ZEBRA = SHARED / "reference" / "gan_compression_horse2zebra" / "latest_net_G.pth"
SIZES = [(256, 256), (181, 250), (97, 64)]  # height, width

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, trained: Path, diptych: Command) -> Path:
    """A generator trained to make zebras; where it is not at hand, a tiny one."""
    if not ZEBRA.exists():
        return trained
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    assert diptych("import", ZEBRA, "-o", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def photos(towns: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real pictures of three sizes."""
    folder = tmp_path_factory.mktemp("photos")
    found = sorted((HORSES if HORSES.exists() else towns / "testA").iterdir())
    paths = []
    for source, (height, width) in zip(found, SIZES, strict=False):
        paths.append(folder / f"{width}x{height}.png")
        Image.open(source).convert("RGB").resize((width, height)).save(paths[-1])
    return paths


def pixels(path: Path) -> Array:
    return np.array(Image.open(path).convert("RGB"))


def floats(picture: Array) -> Array:
    return picture[None].astype(np.float32) / 127.5 - 1


def expected_floats(model: Path, picture: Array) -> Array:
    """``(1, H, W, 3)`` in [-1, 1]."""
    x = torch.from_numpy(floats(picture)).permute(0, 3, 1, 2)
    return package.load(model).to_b(x).permute(0, 2, 3, 1).numpy()


def levels(a: Array, b: Array) -> int:
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b).max())


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a new environment that holds these packages and nothing of ours: its Python."""

    def make(*packages: str) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, with_pip=True, symlinks=True)
        python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        options = ["install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt"]
        done = subprocess.run(
            [python, "-m", "pip", *options, *packages], capture_output=True, text=True, timeout=900
        )
        if done.returncode != 0:
            pytest.skip(f"pip cannot install {packages}: {done.stderr[-300:]}")
        return python

    return make


def run_example(python: Path, script: Path, photos: list[Path], model: Path, out: Path) -> None:
    """The example gives what diptych gives, but for one of 255 levels."""
    clear = Image.open(photos[-1]).convert("RGBA")
    clear.paste((9, 9, 9, 0), (0, 0, clear.width // 2, clear.height))
    clear.save(out / "half-clear.png")
    deep = np.array(Image.open(photos[-1]).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(out / "16-bit.png")
    for photo in [*photos, out / "half-clear.png", out / "16-bit.png"]:
        done = subprocess.run(
            [python, script, photo, out / f"to-b-{photo.name}"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        expected = np.array(package.load(model).to_b(photo))
        assert levels(pixels(out / f"to-b-{photo.name}"), expected) <= 1


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> tuple[list[str], list[str]]:
    """The commands and the Python scripts of docs/deploy.md."""
    found = BLOCK.findall((ROOT / "docs" / "deploy.md").read_text("utf-8"))
    commands = [line for language, code in found if not language for line in code.splitlines()]
    return commands, [code for language, code in found if language == "python"]


@pytest.fixture(scope="module")
def exported(model: Path, diptych: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of docs/deploy.md have run, for a model of one way."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("exported")
    pair = load_model(find(model), torch.device("cpu"))
    (folder / "runs" / "h2z").mkdir(parents=True)
    save_model(folder / "runs" / "h2z" / "model.safetensors", replace(pair, G_ba=None))
    for command in blocks()[0]:
        done = diptych(*command.split()[1:], cwd=folder)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert not done.stderr.strip()
    return folder


def test_the_code_of_the_documentation_runs(
    exported: Path, photos: list[Path], model: Path
) -> None:
    """But for LiteRT's, whose package is not here; its example is run below."""
    Image.open(photos[1]).save(exported / "photo.jpg")
    codes = [code for code in blocks()[1] if "ai_edge_litert" not in code]
    assert len(codes) == 4
    for code in codes:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=exported
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
    expected = np.array(package.load(model).to_b(exported / "photo.jpg"))
    for name in ("onnx", "tensorflow", "torch"):
        assert levels(pixels(exported / f"{name}.png"), expected) <= 1


def test_no_file_names_a_folder_of_this_machine(exported: Path) -> None:
    for path in (exported / "deploy").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"site-packages" not in content, path
            assert str(ROOT).encode() not in content, path


ALONE = ["onnx", "tflite", pytest.param("torch", marks=pytest.mark.slow)]


@pytest.mark.parametrize("format_", ALONE)
def test_an_example_runs_without_diptych(
    format_: str, exported: Path, model: Path, photos: list[Path],
    environment: Callable[..., Path], tmp_path: Path,
) -> None:  # fmt: skip
    python = environment(*RUNTIMES[format_].packages)
    for name in ["diptych", *(["torch"] if format_ != "torch" else [])]:
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode
    script = exported / "deploy" / format_ / "translate_to_b.py"
    run_example(python, script, photos, model, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_a_compiled_program(
    model: Path, photos: list[Path], tmp_path: Path, diptych: Command
) -> None:
    options = ["--format", "aotinductor", "--to", "b", "--uint8", "-o", str(tmp_path / "out")]
    command = [sys.executable, "-m", "diptych", "export", str(model), *options]
    done = subprocess.run(command, capture_output=True, text=True)  # (takes minutes)
    assert done.returncode == 0, done.stderr
    script = tmp_path / "out" / "translate_to_b.py"
    run_example(Path(sys.executable), script, photos, model, tmp_path)
    without = {**os.environ, "PATH": "", "CXX": ""}
    done = subprocess.run([*command, "--overwrite"], capture_output=True, text=True, env=without)
    assert done.returncode == 1
    assert "needs a C++ compiler" in done.stderr


KERAS = """
import sys
import keras, numpy as np
model = keras.models.load_model("to_b.keras")
given = np.load("given.npz")
for n in range(3):
    x, y = given[f"x{n}"], given[f"y{n}"]
    x = x[:, : x.shape[1] // 4 * 4, : x.shape[2] // 4 * 4]
    if x.shape == y.shape:
        print("difference", np.abs(model(x) - y).max())
x = given["x2"][:, :64, :64]
model.compile(keras.optimizers.Adam(1e-4, beta_1=0.5), loss="mae")
losses = model.fit(x, x, epochs=5, verbose=0).history["loss"]
print("losses", *losses)
assert not {"diptych", "torch"} & set(sys.modules)
"""


def test_tensorflow_files_run_and_train_on_without_torch(
    exported: Path, model: Path, photos: list[Path], environment: Callable[..., Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    """The SavedModel's two signatures, and the Keras file in Keras' safe mode."""
    out = exported / "deploy" / "tensorflow"
    python = environment("tensorflow-cpu" if sys.platform == "linux" else "tensorflow", "pillow")
    for name in ("diptych", "torch"):
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode
    run_example(python, out / "translate_to_b.py", photos[1:2], model, tmp_path)

    given = {f"x{n}": floats(pixels(photo)) for n, photo in enumerate(photos)}
    given |= {f"y{n}": expected_floats(model, pixels(p)) for n, p in enumerate(photos)}
    np.savez(out / "given.npz", **given)
    (out / "train.py").write_text(KERAS)
    done = subprocess.run(
        [python, "train.py"], capture_output=True, text=True, timeout=300, cwd=out
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    differences = [float(line[1]) for line in lines if line[0] == "difference"]
    assert differences
    assert max(differences) <= 1e-4
    losses = next([float(loss) for loss in line[1:]] for line in lines if line[0] == "losses")
    assert losses[-1] < losses[0]

    tf = pytest.importorskip("tensorflow")
    translate = tf.saved_model.load(out / "to_b").signatures["float"]
    for photo in photos:
        y = translate(x=tf.constant(floats(pixels(photo))))["y"].numpy()
        np.testing.assert_allclose(y, expected_floats(model, pixels(photo)), rtol=0, atol=1e-4)


def test_onnx_floats_are_those_of_pytorch(model: Path, photos: list[Path], tmp_path: Path) -> None:
    import onnxruntime

    deploy(load_model(find(model), torch.device("cpu")), "onnx", ["b"], tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "to_b.onnx")
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["to"] == "b"
    assert facts["source"] == "domain a: 3 channels, uint8, 0 to 255"
    assert {"diptych", "target", "trained_size"} <= facts.keys()
    for photo in photos:
        x = floats(pixels(photo)).transpose(0, 3, 1, 2)
        (y,) = session.run(None, {"x": np.concatenate([x, x])})
        expected = expected_floats(model, pixels(photo))
        np.testing.assert_allclose(y[:1].transpose(0, 2, 3, 1), expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(y[1:], y[:1], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_onnx_in_half_precision(model: Path, photos: list[Path], tmp_path: Path) -> None:
    import onnxruntime

    pair = load_model(find(model), torch.device("cpu"))
    for uint8 in (True, False):
        deploy(pair, "onnx", ["b"], tmp_path, uint8, float16=True, overwrite=True)
        size = (tmp_path / "to_b.onnx").stat().st_size
        assert size < 0.7 * find(model).stat().st_size
        session = onnxruntime.InferenceSession(tmp_path / "to_b.onnx")
        for photo in photos:
            picture = pixels(photo)
            if uint8:
                (y,) = session.run(None, {"pictures": picture[None]})
                difference = np.abs(y[0].astype(int) - np.array(package.load(model).to_b(photo)))
                assert difference.mean() < 0.5
                assert difference.max() <= 16
            else:
                (y,) = session.run(None, {"x": floats(picture).transpose(0, 3, 1, 2)})
                assert y.dtype == np.float32
                difference = np.abs(y.transpose(0, 2, 3, 1) - expected_floats(model, picture))
                assert difference.mean() < 4e-3


def find(model: Path) -> Path:
    return model / "model.safetensors" if model.is_dir() else model


KINDS: dict[str, dict[str, Any]] = {
    "instance norm": {},
    "group norm, resize, retouch": {"norm": "group", "upsample": "resize", "output": "retouch"},
    "pixel norm, retouch, one halving": {
        "norm": "pixel", "output": "retouch", "halvings": 1, "least_change": 0.3, "strength": 1.3
    },
    "batch norm, dropout": {"norm": "batch", "dropout": 0.5},
    "no norm, CUT": {"norm": "none", "downsample": "antialias", "upsample": "antialias"},
    "unet, dropout": {"architecture": "unet", "levels": 6, "dropout": 0.5},
    "unet, resize, batch norm": {
        "architecture": "unet", "levels": 3, "norm": "batch", "upsample": "resize"
    },
    "mobile, group norm": {"architecture": "mobile", "norm": "group"},
}  # fmt: skip
SHAPES = [(1, 64, 64), (2, 33, 50), (1, 16, 16), (1, 5, 1)]  # N, H, W


def way_of(kind: str) -> ExportedWay:
    """A tiny generator with weights that are no longer those of the start."""
    config = GeneratorConfig.model_validate({"width": 8, "blocks": 2, **KINDS[kind]})
    torch.manual_seed(0)
    network = make_generator(config, 3, 3).eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.add_(0.1 * torch.randn_like(value))
    return ExportedWay(network, "b", RGB, RGB, config.size_multiple)


def check_floats(way: ExportedWay, run: Callable[[torch.Tensor], Any], tolerance: float) -> None:
    for n, height, width in SHAPES:
        x = torch.rand(n, 3, height, width) * 2 - 1
        with torch.no_grad():
            expected = AnySize(way)(x)
        assert expected.shape == x.shape
        actual = torch.as_tensor(run(x))
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def check_bytes(way: ExportedWay, run: Callable[[torch.Tensor], Any]) -> None:
    same = []
    for n, height, width in SHAPES:
        pictures = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8)
        with torch.no_grad():
            expected = Pictures(way)(pictures).numpy()
        made = np.asarray(run(pictures))
        assert levels(made, expected) <= 1
        same.append((made == expected).ravel())
    assert np.concatenate(same).mean() > 0.95  # (of values that are cut, not rounded, half are)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_generator_in_keras(kind: str, tmp_path: Path) -> None:
    """The file too, whose sizes are the network's own."""
    keras = pytest.importorskip("keras")
    from diptych.interchange.keras_generator import keras_generator

    way = way_of(kind)
    keras_generator(way.generator, 3, "G").save(tmp_path / "G.keras")
    network = keras.models.load_model(tmp_path / "G.keras")
    for height, width in ((64, 128), (128, 64)):
        x = torch.rand(2, 3, height, width) * 2 - 1
        with torch.no_grad():
            expected = way.generator(x).permute(0, 2, 3, 1).numpy()
        y = network(x.permute(0, 2, 3, 1).numpy()).numpy()
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)


def test_what_matters_in_training_goes_to_keras() -> None:
    keras = pytest.importorskip("keras")
    from diptych.interchange.keras_generator import keras_generator

    model = keras_generator(way_of("batch norm, dropout").generator, 3, "G")
    rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert rates == {0.5}
    assert [norm.momentum for norm in norms] == pytest.approx([0.9] * len(norms))
    cut = keras_generator(way_of("no norm, CUT").generator, 3, "G")
    blurs = [one for one in cut.layers if isinstance(one, keras.layers.DepthwiseConv2D)]
    assert len(blurs) == 4
    assert not any(blur.trainable_weights for blur in blurs)


def test_a_saved_model_takes_any_size(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    from diptych.interchange.tensorflow_files import write_tensorflow

    way = way_of("unet, dropout")
    write_tensorflow(way, tmp_path / "to_b.keras", tmp_path / "to_b")
    signatures = tf.saved_model.load(tmp_path / "to_b").signatures
    pictures, floats = signatures["serving_default"], signatures["float"]
    check_bytes(way, lambda p: pictures(pictures=p.numpy())["translated"].numpy())
    check_floats(way, lambda x: channels_first(floats(x=channels_last(x))["y"].numpy()), 1e-4)


def channels_last(x: torch.Tensor) -> Array:
    return x.permute(0, 2, 3, 1).numpy()


def channels_first(y: Array) -> Array:
    return y.transpose(0, 3, 1, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # (the interpreter that comes with TensorFlow is deprecated)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_generator_in_lite(kind: str, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    from diptych.interchange.tensorflow_files import write_tflite

    way = way_of(kind)
    write_tflite(way, tmp_path / "to_b.tflite")
    interpreter = tf.lite.Interpreter(str(tmp_path / "to_b.tflite"))
    pictures, x = (interpreter.get_signature_runner(n) for n in ("serving_default", "float"))
    check_bytes(way, lambda p: pictures(pictures=p.numpy())["translated"])
    check_floats(way, lambda p: channels_first(x(x=channels_last(p))["y"]), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_generator_in_onnx(kind: str, tmp_path: Path) -> None:
    import onnxruntime

    from diptych.interchange.onnx_file import write_onnx

    way = way_of(kind)
    path = tmp_path / "to_b.onnx"
    write_onnx(way, path, {"diptych": "test"}, uint8=True, float16=False)
    session = onnxruntime.InferenceSession(path)
    check_bytes(way, lambda pictures: session.run(None, {"pictures": pictures.numpy()})[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_traced_program_takes_any_size(kind: str) -> None:
    """And one picture or several; also where the innermost map of a U-Net is one pixel."""
    way = way_of(kind)
    check_floats(way, trace(way, uint8=False).module(), 1e-5)


def test_domains_that_no_image_file_holds(tmp_path: Path) -> None:
    """The example takes arrays, and makes floats of them and back."""
    config = GeneratorConfig(width=4, blocks=1)
    a = PixelFormat(4, "float32", (-2, 0, -9, 1), (6, 1, 9, 1.5))  # each channel's own range
    b = PixelFormat(2, "uint16", 100, 4000.5)
    torch.manual_seed(0)
    info = ModelInfo(config, a, b, 32, "resize-crop", "white", 7)
    pair = GeneratorPair(make_generator(config, 4, 2).eval(), None, info)
    picture = np.random.default_rng(0).uniform(a.low, a.high, (30, 41, 4)).astype(np.float32)
    np.save(tmp_path / "a.npy", picture)
    names = [path.name for path in deploy(pair, "torch", pair.ways, tmp_path)]
    assert names == ["to_b.pt2", "README.md", "translate_to_b.py"]
    assert (
        "-2 to 6, 0 to 1, -9 to 9, 1 to 1.5 before and 100 to 4000.5 after; clip what is beyond."
        in (tmp_path / "README.md").read_text()
    )
    done = subprocess.run(
        [sys.executable, "translate_to_b.py", "a.npy", "b.npy"],
        capture_output=True, text=True, timeout=LONGEST, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = np.load(tmp_path / "b.npy")
    (tmp_path / "a.tif").write_bytes(b"II*")
    refused = subprocess.run(
        [sys.executable, "translate_to_b.py", "a.tif", "b.npy"],
        cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST,
    )  # fmt: skip
    assert (refused.returncode, refused.stderr) == (1, "a.tif: give a .npy file\n")
    expected = Translator(pair, torch.device("cpu")).to_b(picture)
    assert result.dtype == expected.dtype == np.uint16
    assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("to", ["a", "b"])
def test_each_way_goes_out_with_its_own_network_and_values(to: Side) -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(width=4, blocks=1)
    a, b = PixelFormat(3, "uint8", 10, 200), PixelFormat(3, "uint8", 20, 250)
    info = ModelInfo(config, a, b, 32, "crop", "white", 0)
    pair = GeneratorPair(*(make_generator(config, 3, 3).eval() for _ in "ab"), info)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 30, 41, 3), np.uint8)
    with torch.no_grad():
        made = Pictures(one_way(pair, to))(torch.from_numpy(pictures)).numpy()
    expected = Translator(pair, torch.device("cpu")).arrays(list(pictures), to)
    assert levels(made, np.stack(expected)) <= 1


@pytest.mark.parametrize("to", ["a", "b"])
def test_values_are_rounded_not_cut(to: Side) -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(width=4, blocks=1)
    info = ModelInfo(config, RGB, RGB, 32, "crop", "white", 0)
    pair = GeneratorPair(*(make_generator(config, 3, 3).eval() for _ in "ab"), info)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), np.uint8)
    with torch.no_grad():
        made = Pictures(one_way(pair, to))(torch.from_numpy(pictures)).numpy()
    expected = np.stack(Translator(pair, torch.device("cpu")).arrays(list(pictures), to))
    assert (made == expected).mean() > 0.99


def test_an_example_lays_pictures_on_the_background_of_the_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(width=4, blocks=1)
    info = ModelInfo(config, RGB, RGB, 32, "crop", "#ff8000", 0)
    pair = GeneratorPair(make_generator(config, 3, 3).eval(), None, info)
    rgba = np.random.default_rng(0).integers(0, 256, (20, 24, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    deploy(pair, "torch", ["b"], tmp_path)
    done = subprocess.run(
        [sys.executable, "translate_to_b.py", "a.png", "b.png"],
        capture_output=True, text=True, timeout=LONGEST, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = np.array(Translator(pair, torch.device("cpu")).to_b(tmp_path / "a.png"))
    made = pixels(tmp_path / "b.png")
    assert levels(made, expected) <= 1
    assert (made == expected).mean() > 0.98  # (the example rounds)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:800])
    (tmp_path / "b.png").write_text("no picture")
    for name in ("a.png", "b.png"):
        refused = subprocess.run(
            [sys.executable, "translate_to_b.py", name, "c.png"],
            capture_output=True, text=True, timeout=LONGEST, cwd=tmp_path,
        )  # fmt: skip
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"cannot read {name}: ")
        assert len(refused.stderr.splitlines()) == 1


def test_what_cannot_be_exported_ends_in_one_line(
    model: Path, tmp_path: Path, diptych: Command
) -> None:
    (tmp_path / "README.md").write_text("mine")
    pair = load_model(find(model), torch.device("cpu"))
    with pytest.raises(UsageError, match="takes both"):
        deploy(pair, "tensorflow", ["b"], tmp_path, uint8=True)
    with pytest.raises(UsageError, match="--float16 is for --format onnx"):
        deploy(pair, "torch", ["b"], tmp_path, float16=True)
    deep = replace(pair, info=replace(pair.info, b=PixelFormat(3, "uint16", 0, 65535)))
    with pytest.raises(DiptychError, match="uint16, 0 to 65535: leave it out"):
        deploy(deep, "onnx", ["b"], tmp_path, uint8=True)
    with pytest.raises(DiptychError, match=r"README.md exists"):
        deploy(pair, "torch", ["b"], tmp_path)
    (tmp_path / "own" / "README.md").mkdir(parents=True)
    (tmp_path / "own" / "to_b.pt2").write_text("before")
    with pytest.raises(DiptychError, match=r"README.md is a folder: remove it"):
        deploy(pair, "torch", ["b"], tmp_path / "own", overwrite=True)
    assert (tmp_path / "own" / "to_b.pt2").read_text() == "before"
    shutil.rmtree(tmp_path / "own")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "to_a.onnx").write_text("before")
    with pytest.raises(DiptychError, match=r"to_a.onnx is of another format: choose another -o"):
        deploy(pair, "torch", ["b"], tmp_path / "other", overwrite=True)
    shutil.rmtree(tmp_path / "other")

    without = "import sys; sys.modules['onnxscript'] = None; from diptych.cli.main import main as m"
    export = ["export", str(model), "-o", str(tmp_path), "--format"]
    done = subprocess.run(
        [sys.executable, "-c", f"{without}; m()", *export, "onnx"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'pip install -e ".[onnx]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    unknown = diptych(*export, "onx")
    assert unknown.returncode == 2
    assert "did you mean 'onnx'?" in unknown.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"
