"""``diptych export``: a model in the format of another runtime, with a README and an example."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from diptych.errors import DiptychError, UsageError
from diptych.host.files import explain_os_errors, replace, sweep_old, sync_file, sync_folder
from diptych.interchange.examples import RUNTIMES, Format, example
from diptych.interchange.program import ExportedWay, one_way
from diptych.interchange.readme import readme
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.sides import SIDES, Side, other_side
from diptych.version import __version__
from diptych.words import how_to_install


def deploy(
    pair: GeneratorPair,
    format_: Format,
    ways: Sequence[Side],
    out: Path,
    uint8: bool = False,
    float16: bool = False,
    overwrite: bool = False,
    strength: float = 1.0,
) -> list[Path]:
    """Write the generators that translate to ``ways`` into the folder ``out``; returns the paths.

    ``uint8``: the file takes and gives pictures; else float32 in [-1, 1]. The formats of TensorFlow
    hold both. ``float16``: half precision (ONNX). ``strength``: that which ``pair`` was loaded
    with, for the README. Raises UsageError for what does not go together, DiptychError where a
    package is missing or a file cannot be written; what is in ``out`` stays as it is until all is
    written beside it.
    """
    directions = [one_way(pair, to) for to in ways]
    runtime = RUNTIMES[format_]
    _check(format_, directions[0], uint8, float16)
    pixels = uint8 or (runtime.signatures and directions[0].eight_bit)
    scripts = [f"translate_{way.name}.py" for way in directions]
    names = [name.format(way.name) for way in directions for name in runtime.files]
    names += ["README.md", *scripts]
    taken = [name for name in names if (out / name).exists()]
    if taken and not overwrite:
        raise DiptychError(f"{out / taken[0]} exists: choose another -o, or --overwrite")
    _check_alone(format_, out)
    with explain_os_errors(f"write to {out}"):
        out.mkdir(parents=True, exist_ok=True)
        sweep(out)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as folder:
            aside = Path(folder)
            for way, script in zip(directions, scripts, strict=True):
                _write(way, format_, aside, _facts(way, pair.info), uint8, float16)
                (aside / script).write_text(
                    example(format_, way, pixels, pair.info.background), "utf-8"
                )
            facts = _facts(directions[0], pair.info)
            text = readme(format_, directions, facts, pixels, float16, strength)
            (aside / "README.md").write_text(text, "utf-8")
            for name in names:
                if (out / name).exists() and (out / name).is_dir() != (aside / name).is_dir():
                    kind = "folder" if (out / name).is_dir() else "file"
                    raise DiptychError(f"{out / name} is a {kind}: remove it or choose another -o")
            for path in filter(Path.is_file, aside.rglob("*")):
                sync_file(path)
            for name in names:
                if (aside / name).is_dir() and (out / name).is_dir():
                    shutil.rmtree(out / name)
                replace(aside / name, out / name)
            sync_folder(out)
    return [out / name for name in names]


def sweep(out: Path) -> None:
    """Remove what exports that were killed have left."""
    sweep_old(out, r"\.partial-\w{8}")


def _check(format_: Format, way: ExportedWay, uint8: bool, float16: bool) -> None:
    tensorflow = RUNTIMES[format_].signatures
    if uint8 and tensorflow:
        raise UsageError(f"--uint8: --format {format_} takes both pictures and floats anyway")
    if uint8 and not way.eight_bit:
        raise DiptychError(
            f"--uint8: this model translates {way.source.describe()} to {way.target.describe()}: "
            "leave it out, the README says how floats are made of them"
        )
    if float16 and format_ != "onnx":
        raise UsageError("--float16 is for --format onnx")
    extra = "tensorflow" if tensorflow else "onnx"
    needed = {
        "onnx": ("onnx", "onnxscript", "onnxruntime"),
        "tensorflow": ("tensorflow", "keras"),
        "tflite": ("tensorflow", "keras"),
    }.get(format_, ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing and needed[0] == "tensorflow" and sys.version_info >= (3, 14):
        raise DiptychError(
            f"--format {format_} needs TensorFlow, which diptych knows up to Python 3.13: export "
            "there, or with --format onnx"
        )
    if missing:
        raise DiptychError(f"--format {format_} needs {missing[0]}: {how_to_install(extra)}")


def _check_alone(format_: Format, out: Path) -> None:
    """Raise DiptychError for a folder with another format: README and scripts are of one."""
    others = {name for one in RUNTIMES.values() for name in one.files if name != "{}"}
    for name in sorted(others.difference(RUNTIMES[format_].files)):
        for there in (out / name.format(f"to_{side}") for side in SIDES):
            if there.exists():
                raise DiptychError(f"{there} is of another format: choose another -o")


def _facts(way: ExportedWay, info: ModelInfo) -> dict[str, str]:
    """What a file says about itself."""
    config = info.generator
    return {
        "diptych": __version__,
        "torch": str(torch.__version__),
        "to": way.to,
        "source": f"domain {other_side(way.to)}: {way.source.describe()}",
        "target": f"domain {way.to}: {way.target.describe()}",
        "trained_size": str(info.size),
        "trained_steps": str(info.step),
        "generator": f"{config.architecture}, norm {config.norm}",
    }


def _write(
    way: ExportedWay,
    format_: Format,
    folder: Path,
    facts: Mapping[str, str],
    uint8: bool,
    float16: bool,
) -> None:
    first = folder / RUNTIMES[format_].files[0].format(way.name)
    if format_ == "onnx":
        from diptych.interchange.onnx_file import write_onnx

        write_onnx(way, first, facts, uint8, float16)
    elif format_ == "torch":
        from diptych.interchange.torch_files import write_program

        write_program(way, first, facts, uint8)
    elif format_ == "aotinductor":
        from diptych.interchange.torch_files import write_compiled

        write_compiled(way, first, facts, uint8)
    elif format_ == "tflite":
        from diptych.interchange.tensorflow_files import write_tflite

        write_tflite(way, first)
    else:
        from diptych.interchange.tensorflow_files import write_tensorflow

        write_tensorflow(way, folder / f"{way.name}.keras", first)
