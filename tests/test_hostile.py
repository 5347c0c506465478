"""Files from a stranger: nothing in them runs, and each ends in one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_OPTIONS, Command
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diptych.errors import DiptychError
from diptych.host.files import file_sha256
from diptych.interchange.official import rebuild
from diptych.model_file import load_model
from diptych.report.page import write_report
from diptych.settings import build_config, read_config_file
from diptych.training import checkpoint
from diptych.training.run_folder import RunFolder

CPU = torch.device("cpu")


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def bomb(tmp_path: Path) -> bytes:
    """A pickle that would make ``tmp_path / "exploded"``."""
    content = pickle.dumps(Bomb(tmp_path / "exploded"))
    pickle.loads(content)
    (tmp_path / "exploded").rmdir()  # it does work
    return content


def refused(done: Any, tmp_path: Path) -> None:
    assert done.returncode in (1, 2), done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kind", ["pickle", "torch", "numpy"])
def test_pickles_do_not_run(
    kind: str, bomb: bytes, trained: Path, towns: Path, tmp_path: Path, diptych: Command
) -> None:
    path = tmp_path / "stranger.pth"
    if kind == "pickle":
        path.write_bytes(bomb)
    elif kind == "torch":
        torch.save({"weight": Bomb(tmp_path / "exploded")}, path)
    else:
        np.save(tmp_path / "a.npy", np.array([Bomb(tmp_path / "exploded")]), allow_pickle=True)
        path = tmp_path / "a.npy"
    refused(diptych("translate", path, towns / "testA", "-o", tmp_path / "out"), tmp_path)
    refused(diptych("evaluate", trained, "--inception-file", path), tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(path, pictures / "picture.npy")
    refused(
        diptych("train", pictures, towns / "trainB", "--run", tmp_path / "run", *TINY_OPTIONS,
                "--steps", "1", "--depth", "native"), tmp_path,
    )  # fmt: skip


def test_yaml_tags_do_not_run(trained: Path, tmp_path: Path, towns: Path, diptych: Command) -> None:
    tag = f'!!python/object/apply:os.mkdir ["{tmp_path / "exploded"}"]'
    (tmp_path / "config.yaml").write_text(f"training:\n  steps: {tag}\n")
    options = ["--data", towns, "--run", tmp_path / "run"]
    refused(diptych("train", *options, "--config", tmp_path / "config.yaml"), tmp_path)
    refused(diptych("train", *options, "--set", f"training.steps={tag}"), tmp_path)
    shutil.copytree(trained, tmp_path / "theirs")
    shutil.copy(tmp_path / "config.yaml", tmp_path / "theirs" / "config.yaml")
    for command in ("evaluate", "report"):
        refused(diptych(command, tmp_path / "theirs"), tmp_path)


def info_of(model: Path) -> dict[str, Any]:
    with safe_open(model, framework="pt") as file:
        info: dict[str, Any] = json.loads(file.metadata()["diptych"])
    return info


LIES: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    ("huge width", lambda info: info["generator"].update(width=10**9)),
    ("wide and deep", lambda info: info["generator"].update(width=4096, blocks=256)),
    ("endless blocks", lambda info: info["generator"].update(blocks=10**9)),
    ("other architecture", lambda info: info["generator"].update(architecture="unet")),
    ("unknown setting", lambda info: info["generator"].update(code="import os")),
    ("channels in words", lambda info: info["a"].update(channels="three")),
    ("channels below zero", lambda info: info["b"].update(channels=-3)),
    ("empty range", lambda info: info["a"].update(low=255.0)),
    ("ranges of more channels", lambda info: info["a"].update(low=[0.0] * 9, high=[9.0] * 9)),
    ("a range in part", lambda info: info["a"].update(low=[0.0, 0.0, 0.0])),
    ("no number", lambda info: info["b"].update(high=float("nan"))),
    ("unknown depth", lambda info: info["a"].update(dtype="object")),
    ("no size", lambda info: info.update(size=-5)),
    ("a size beyond reason", lambda info: info.update(size=10**12)),
    ("steps below zero", lambda info: info.update(step=-1)),
    ("no colour", lambda info: info.update(background="nonsense")),
    ("less than there is", lambda info: info.pop("b")),
    ("format in words", lambda info: info.update(format="newest")),
]


@pytest.mark.parametrize(("name", "lie"), LIES, ids=lambda x: str(x)[:20])
def test_a_model_that_lies_about_itself(
    name: str, lie: Callable[[dict[str, Any]], None], trained: Path, tmp_path: Path
) -> None:
    model = trained / "model.safetensors"
    info = info_of(model)
    lie(info)
    path = tmp_path / "model.safetensors"
    save_file(load_file(model), path, {"diptych": json.dumps(info)})
    with pytest.raises(DiptychError, match="is damaged"):
        load_model(path, CPU)


@pytest.mark.parametrize("text", ["null", "[]", "3", "{", "{}"])
def test_a_model_that_says_nothing_about_itself(text: str, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(load_file(trained / "model.safetensors"), path, {"diptych": text})
    with pytest.raises(DiptychError, match="is damaged"):
        load_model(path, CPU)


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


FLOATS = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
HEADERS = {
    "empty": b"",
    "shorter than its length": b"\x00\x00",
    "length beyond the file": struct.pack("<Q", 2**62) + b"{}",
    "large length": struct.pack("<Q", 200_000_000) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"oops",
    "deep JSON": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "offsets beyond the end": header(x={**FLOATS, "data_offsets": [0, 1 << 40]}) + bytes(16),
    "offsets backwards": header(x={**FLOATS, "data_offsets": [16, 0]}) + bytes(16),
    "shape and offsets disagree": header(x={**FLOATS, "shape": [1 << 40]}) + bytes(16),
    "overflowing shape": header(x={**FLOATS, "shape": [1 << 62, 4]}) + bytes(16),
    "overlapping tensors": header(x=FLOATS, y=FLOATS) + bytes(16),
    "unknown dtype": header(x={**FLOATS, "dtype": "PY"}) + bytes(16),
}


@pytest.mark.parametrize("name", HEADERS)
def test_safetensors_whose_header_lies(name: str, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HEADERS[name])
    with pytest.raises(DiptychError, match="not a model file"):
        load_model(path, CPU)
    place = tmp_path / "step-00000012"
    shutil.copytree(trained / "checkpoints" / place.name, place)
    (place / "model.safetensors").write_bytes(HEADERS[name])
    rewrite_manifest(place, "model.safetensors")
    with pytest.raises(DiptychError, match="is not whole"):
        checkpoint.read(place)


def rewrite_manifest(place: Path, name: str) -> None:
    """Give the changed file its right checksum: a stranger can do that too."""
    manifest = json.loads((place / "manifest.json").read_text())
    path = place / name
    manifest["files"][name] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
    write_manifest(place, manifest)


def write_manifest(place: Path, manifest: dict[str, Any]) -> None:
    """With the right checksum of its own."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    signed = {**rest, "sha256": checkpoint.digest(rest)}
    (place / "manifest.json").write_text(json.dumps(signed))


def test_a_pipe_in_a_checkpoint_is_not_waited_for(trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "step-00000012"
    shutil.copytree(trained / "checkpoints" / place.name, place)
    (place / "model.safetensors").unlink()
    os.mkfifo(place / "model.safetensors")
    with pytest.raises(DiptychError, match=r"is not whole: model\.safetensors is missing"):
        checkpoint.read(place)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/../../model.safetensors", "..", ""]
)
def test_manifests_cannot_lead_outside(name: str, trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "step-00000012"
    shutil.copytree(trained / "checkpoints" / place.name, place)
    shutil.copy(trained / "model.safetensors", tmp_path / "model.safetensors")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"].pop("model.safetensors")
    write_manifest(place, manifest)
    with pytest.raises(DiptychError, match=r"names a file outside|is not whole"):
        checkpoint.read(place)


NONSENSE = ["", "null", "[]", "{}", "\x00\xff", '{"a": 1}', '{"step": "x"}', "[" * 5000]
FILES = ["config.yaml", "data.json", "evaluation.json", "scores.json"]
LINES = ["evaluations.jsonl", "metrics.jsonl", "warnings.jsonl"]


@pytest.mark.parametrize("file", [*FILES, *LINES])
@pytest.mark.parametrize("content", NONSENSE, ids=lambda x: ascii(x)[:12])
def test_nonsense_in_a_run_folder(file: str, content: str, trained: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained, run.path)
    (run.path / file).write_text(content)
    if file == "data.json":
        with pytest.raises(DiptychError, match=r"data\.json is missing or damaged") as caught:
            write_report(run)
        assert len(str(caught.value).splitlines()) == 1
    elif file == "config.yaml":
        with pytest.raises(DiptychError) as caught:
            write_report(run)
        assert len(str(caught.value).splitlines()) == 1
    else:  # what it says is left out
        write_report(run)


@pytest.mark.parametrize("value", ["Infinity", "NaN", "1e999", "1e308", "-1e308"])
@pytest.mark.parametrize("name", ["step", "rate", "seconds", "D_a", "kid/mean"])
def test_numbers_that_are_none(name: str, value: str, trained: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained, run.path)
    for file in (run.metrics, run.evaluations):
        with open(file, "a") as lines:
            lines.write(
                f'{{"step": 12, "{name}": {value}}}\n'.replace('"step": 12, "step"', '"step"')
            )
            lines.write('{"step": 13, "D_a": 1}\n')
    write_report(run)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize(
    "name", [".lock", "checkpoints", "samples", "tensorboard", "metrics.jsonl", "warnings.jsonl"]
)
def test_links_in_a_run_lead_nowhere(
    name: str, trained: Path, towns: Path, tmp_path: Path, diptych: Command
) -> None:
    """Resuming removes and replaces files: only the run's own."""
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(trained, run)
    other.mkdir()
    mine = other / "step-00000099.png"
    mine.write_text("mine")
    place = run / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    to = {".lock": mine, "metrics.jsonl": other / "none-yet", "warnings.jsonl": mine}
    place.symlink_to(to.get(name, other))
    done = diptych("train", "--run", run, "--resume", "--steps", "14", "--data", towns)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert mine.read_text() == "mine"
    assert list(other.iterdir()) == [mine]


def test_a_checkpoint_is_not_written_through_a_link(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(trained, run)
    other.mkdir()
    (other / "model.safetensors").write_text("mine")
    (run / "checkpoints" / ".step-00000014.partial").symlink_to(other)
    done = diptych("train", "--run", run, "--resume", "--steps", "14")
    assert done.returncode == 0, done.stderr
    assert (other / "model.safetensors").read_text() == "mine"
    assert [path.name for path in other.iterdir()] == ["model.safetensors"]
    assert checkpoint.read(run / "checkpoints" / "step-00000014")[0] == 14


def test_sample_sheets_that_are_none_are_left_out(trained: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained, run.path)
    sheets = write_report(run).read_text().count('class="sheet"')
    (run.samples / "step-00000099.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    (run.samples / "step-abc.png").write_text("x")
    (run.samples / "step-00000098.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.mkfifo(run.samples / "step-00000097.png")
    assert write_report(run).read_text().count('class="sheet"') == sheets


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(
    value: float, trained: Path, tmp_path: Path
) -> None:
    with safe_open(trained / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(trained / "model.safetensors")
    key = sorted(tensors)[0]
    tensors[key].view(-1)[0] = value
    save_file(tensors, tmp_path / "model.safetensors", metadata)
    with pytest.raises(DiptychError, match="holds NaN, infinity or no numbers"):
        load_model(tmp_path / "model.safetensors", CPU)


def test_weights_of_a_kind_that_nothing_computes_with(trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    data = (trained / "model.safetensors").read_bytes()
    length = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = json.loads(data[8:length])
    size = len(data) - length
    tensors["x"] = {"dtype": "F4", "shape": [2], "data_offsets": [size, size + 1]}
    model.write_bytes(header(**tensors) + data[length:] + b"0")
    with pytest.raises(DiptychError):
        load_model(model, CPU)


def test_weights_larger_than_their_file_are_refused(tmp_path: Path) -> None:
    torch.save({"model.1.weight": torch.zeros(1).expand(100_000, 50_000)}, tmp_path / "G.pth")
    with pytest.raises(DiptychError, match="larger than what is stored of it"):
        rebuild(tmp_path / "G.pth")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x: &x [1]\ntraining:\n  steps: *x\n", "aliases"),
        ("training:\n  steps: 2\ndata:\n  size: 32\ntraining:\n  batch: 2\n", "comes twice"),
        ("data:\n  size: 32\n  size: 64\n", "'size' comes twice"),
        ("data:\n  yes: 32\n  on: 64\n", "'on' comes twice"),  # (both are True)
    ],
)
def test_settings_that_are_not_what_they_seem(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DiptychError, match=reason):
        read_config_file(tmp_path / "c.yaml")


def test_a_long_value_is_quoted_in_short() -> None:
    with pytest.raises(DiptychError) as error:
        build_config({"training": {"steps": "x" * 100_000}})
    assert len(str(error.value)) < 200


def test_names_cannot_write_into_the_report(towns: Path, tmp_path: Path, diptych: Command) -> None:
    shutil.copytree(towns, tmp_path / "towns")
    name = "<img src=x onerror=alert(1)>.png"
    for side in ("testA", "trainA"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / "towns" / side / name)
    (tmp_path / "towns" / "trainA" / f"cut{name}").write_bytes(b"\x89PNG")
    run = tmp_path / "run"
    options = ["--data", tmp_path / "towns", "--run", run, *TINY_OPTIONS, "--steps", "1"]
    assert diptych("train", *options).returncode == 0
    assert diptych("report", run).returncode == 0
    page = (run / "report.html").read_text()
    assert "&lt;img src=x onerror" in page
    assert "<img src=x" not in page
