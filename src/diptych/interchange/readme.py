"""The README that an export comes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diptych.interchange.examples import RUNTIMES, Format, Runtime, command
from diptych.interchange.program import ExportedWay
from diptych.translation.afar import NEAR

KERAS = """
## Training on in Keras

`{name}.keras` is the network by itself, made of Keras' own layers:

    import keras
    model = keras.models.load_model("{name}.keras")
    model.compile(keras.optimizers.Adam(1e-4, beta_1=0.5), loss="mae")
    model.fit(x, y)  # x and y: float32 (N, H, W, C) in [-1, 1]
"""
COMPILED = """
It runs on processors like the one it was compiled on, with PyTorch {torch}.
"""


def readme(
    format_: Format,
    ways: Sequence[ExportedWay],
    facts: Mapping[str, str],
    pixels: bool,
    float16: bool,
    strength: float,
) -> str:
    """``facts``: of the first way. ``pixels``: the files take and give uint8 pictures.

    ``strength``: what their changes were multiplied by.
    """
    runtime = RUNTIMES[format_]
    rows = [row for way in ways for row in _rows(runtime, way, pixels)]
    lines = [
        f"# Pictures translated by {runtime.title}",
        "",
        f"Written by diptych {facts['diptych']}; the model was trained on pictures of "
        f"{facts['trained_size']} px a side: scale larger ones down first, to at most "
        f"{NEAR * int(facts['trained_size'])} px of the shorter side.",
        "",
        "| file | takes | gives |",
        "|---|---|---|",
        *rows,
        "",
        "N pictures of one size, of any height H and width W"
        + (", except for the `.keras` files." if format_ == "tensorflow" else "."),
    ]
    for way in ways if not pixels or runtime.signatures else ():
        lines.append(
            f"Towards {way.to.upper()}, float -1 to 1 stands for {way.source.span()} before and "
            f"{way.target.span()} after"
            + ("." if way.source.holds_all else "; clip what is beyond.")
        )
    if strength != 1:
        lines.append(f"It changes pictures {strength:g} times as much as it has learned to.")
    if float16:
        lines.append("It computes in float16: colours may differ by a few of 255 levels.")
    lines += ["", f"    pip install {' '.join(runtime.packages)}"]
    lines += [f"    {command(way)}" for way in ways]
    text = "\n".join(lines) + "\n"
    if format_ == "tensorflow":
        text += KERAS.format(name=ways[0].name)
    if format_ == "aotinductor":
        text += COMPILED.format(torch=facts["torch"])
    return text


def _rows(runtime: Runtime, way: ExportedWay, pixels: bool) -> list[str]:
    main, *others = (name.format(way.name) for name in runtime.files)
    last = runtime.signatures
    a, b = way.source.channels, way.target.channels
    shapes = (
        (f"(N, H, W, {a})", f"(N, H, W, {b})") if last else (f"(N, {a}, H, W)", f"(N, {b}, H, W)")
    )
    floats = f"`x`: float32 `{shapes[0]}` in [-1, 1] | `y`: float32 `{shapes[1]}` in [-1, 1] |"
    bytes_ = f"`pictures`: uint8 `(N, H, W, {a})` | `translated`: uint8 `(N, H, W, {b})` |"
    rows = []
    if pixels:
        rows.append(
            f"| `{main}`" + (", signature `serving_default`" if last else "") + f" | {bytes_}"
        )
    if last or not pixels:
        rows.append(f"| `{main}`" + (", signature `float`" if last else "") + f" | {floats}")
    sizes = f" (H and W multiples of {way.multiple}, {way.smallest} or more)"
    rows += [f"| `{other}`{sizes} | {floats}" for other in others]
    return rows
