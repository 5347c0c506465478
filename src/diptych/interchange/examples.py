"""The script that each export comes with: it translates one picture, with that runtime alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from diptych.data.alpha import parse_background
from diptych.data.pixels import PixelFormat
from diptych.interchange.program import ExportedWay

Format = Literal["onnx", "tensorflow", "tflite", "torch", "aotinductor"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Runtime:
    """What runs a format: its files, what to install and import, and how a file is opened."""

    title: str
    files: tuple[str, ...]  # {}: to_b; the one to open comes first
    packages: tuple[str, ...]
    imports: str
    load: str  # {name}: to_b
    pixels: str  # picture (H, W, C) uint8 to translated (H, W, C) uint8
    floats: str  # x (H, W, C) float32 in [-1, 1] to y (H, W, C)
    signatures: bool = False  # a file takes both pictures and floats; floats have channels last


TORCH = Runtime(
    title="PyTorch",
    files=("{}.pt2",),
    packages=("torch", "numpy", "pillow"),
    imports="import torch",
    load='model = torch.export.load(here / "{name}.pt2").module()',
    pixels="translated = model(torch.from_numpy(picture[None]))[0].numpy()",
    floats="y = model(torch.from_numpy(x).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()",
)
RUNTIMES: dict[Format, Runtime] = {
    "onnx": Runtime(
        title="ONNX Runtime",
        files=("{}.onnx",),
        packages=("onnxruntime", "numpy", "pillow"),
        imports="import onnxruntime",
        load='model = onnxruntime.InferenceSession(here / "{name}.onnx")',
        pixels='translated = model.run(None, {"pictures": picture[None]})[0][0]',
        floats='y = model.run(None, {"x": x.transpose(2, 0, 1)[None]})[0][0].transpose(1, 2, 0)',
    ),
    "tensorflow": Runtime(
        title="TensorFlow",
        files=("{}", "{}.keras"),
        packages=("tensorflow", "pillow"),
        imports="import tensorflow as tf",
        load='model = tf.saved_model.load(here / "{name}").signatures["{signature}"]',
        pixels='translated = model(pictures=tf.constant(picture[None]))["translated"][0].numpy()',
        floats='y = model(x=tf.constant(x[None]))["y"][0].numpy()',
        signatures=True,
    ),
    "tflite": Runtime(
        title="LiteRT (TensorFlow Lite)",
        files=("{}.tflite",),
        packages=("ai-edge-litert", "numpy", "pillow"),
        imports="from ai_edge_litert.interpreter import Interpreter",
        load='model = Interpreter(str(here / "{name}.tflite")).get_signature_runner("{signature}")',
        pixels='translated = model(pictures=picture[None])["translated"][0]',
        floats='y = model(x=x[None])["y"][0]',
        signatures=True,
    ),
    "torch": TORCH,
    "aotinductor": replace(
        TORCH,
        title="PyTorch, compiled",
        files=("{}.compiled.pt2",),
        load='model = torch._inductor.aoti_load_package(str(here / "{name}.compiled.pt2"))',
    ),
}


def example(format_: Format, way: ExportedWay, uint8: bool, background: str) -> str:
    """The Python script for the file of that format, which takes pictures or, else, floats.

    ``background`` shows through where a picture is transparent.
    """
    runtime = RUNTIMES[format_]
    pil = way.source.is_image, way.target.is_image
    imports = sorted(["import numpy as np", runtime.imports], key=lambda line: line.split()[1])
    if any(pil):
        imports.append("from PIL import Image, ImageOps" if pil[0] else "from PIL import Image")
    signature = "serving_default" if uint8 else "float"
    steps = [
        "if len(sys.argv) != 3:",
        f'    sys.exit("usage: {command(way)}")',
        "source, target = sys.argv[1:]",
        "if not Path(source).is_file():",
        '    sys.exit(f"there is no file {source}")',
        "here = Path(__file__).parent",
        runtime.load.format(name=way.name, signature=signature),
        *_read(way.source, background),
        *([runtime.pixels] if uint8 else _floats(way, runtime)),
        _save(way.target),
    ]
    return "\n".join(
        [
            f'"""{command(way)}"""',
            "import sys",
            "from pathlib import Path",
            "",
            *imports,
            "",
            *steps,
            "",
        ]
    )


def command(way: ExportedWay) -> str:
    """How the script is called."""
    source = "photo.jpg" if way.source.is_image else "photo.npy"
    target = "translated.png" if way.target.is_image else "translated.npy"
    return f"python translate_{way.name}.py {source} {target}"


def _read(source: PixelFormat, background: str) -> list[str]:
    if not source.is_image:
        return [
            'if not source.endswith(".npy"):',
            '    sys.exit(f"{source}: give a .npy file")',
            f"picture = np.load(source)  # (H, W, {source.channels}) {source.dtype}",
        ]
    mode, axis = ("RGB", "") if source.channels == 3 else ("L", "[..., None]")
    return [
        "try:",
        "    photo = ImageOps.exif_transpose(Image.open(source))",
        "except OSError as error:  # (no picture, cut short, or none that Pillow knows)",
        '    sys.exit(f"cannot read {source}: {error}")',
        'if photo.mode.startswith("I;16"):  # the upper 8 bits, where Pillow would clip',
        "    photo = Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))",
        "if photo.has_transparency_data:",
        f'    behind = Image.new("RGBA", photo.size, {(*parse_background(background), 255)})',
        '    photo = Image.alpha_composite(behind, photo.convert("RGBA"))',
        f'picture = np.array(photo.convert("{mode}")){axis}',
    ]


def _save(target: PixelFormat) -> str:
    if not target.is_image:
        return "np.save(target, translated)  # (adds .npy, where the name does not end so)"
    return f"Image.fromarray(translated{'' if target.channels == 3 else '[..., 0]'}).save(target)"


def _floats(way: ExportedWay, runtime: Runtime) -> list[str]:
    source, target = way.source, way.target
    low, span = _number(source.low), _number(np.subtract(source.high, source.low))
    unit = f"(picture.astype(np.float32) - {low}) * (2 / {span}) - 1"
    x = f"x = {unit if source.holds_all else f'({unit}).clip(-1, 1)'}"
    half = _number(np.subtract(target.high, target.low) / 2)
    back = f"(y + 1) * {half} + {_number(target.low)}"
    if target.dtype != "float32":
        bottom, top = map(_number, target.bounds)
        back = f"({back}).round().clip({bottom}, {top}).astype(np.{target.dtype})"
    return [x, runtime.floats, f"translated = {back}"]


def _number(value: ArrayLike) -> str:
    """A number as a program writes it, or an array of one for each channel."""
    if np.ndim(value):
        return f"np.float32([{', '.join(map(_number, np.asarray(value).tolist()))}])"
    number = float(np.asarray(value))
    return repr(int(number) if number == int(number) else number)
