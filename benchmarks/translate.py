"""Translating a folder from file to file: the plain loop against diptych.

    python benchmarks/translate.py                          # the repaint preset's network
    python benchmarks/translate.py --networks 16/3 64/9     # a tiny one, and the paper's
    python benchmarks/translate.py --precision bf16        # with matrix units
    python benchmarks/translate.py --precision int8        # with VNNI

Plain opens a picture, puts it through the network, saves it as PNG, and turns to the next. On the
CPU it keeps the memory that it frees, as diptych does: alone it is slower.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from flops import forward, generator_layers
from limit import best_rate
from measure import in_turns, options, report, start, table
from pictures import write_jpegs
from PIL import Image
from plain import copy_weights, generator
from torch import nn

from diptych.data.pixels import RGB
from diptych.host.device import choose_translating_precision
from diptych.host.memory import freed_memory_kept
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.network_config import GeneratorConfig
from diptych.networks import initialise, make_generator
from diptych.translation.files import translate_files
from diptych.translation.jobs import plan_folder
from diptych.translation.translator import Translator


def plain_loop(network: nn.Module, inputs: list[Path], out: Path, device: torch.device) -> None:
    """One picture after the other."""
    out.mkdir(exist_ok=True)
    for path in inputs:
        picture = np.array(Image.open(path).convert("RGB"))
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].float().to(device) / 127.5 - 1
        with torch.no_grad():
            y = network(x)[0]
        pixels = ((y + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        Image.fromarray(pixels).save(out / f"{path.stem}.png")


def largest_difference(a: Path, b: Path) -> int:
    """Over all pictures of two folders, in steps of 1/255."""
    largest = 0
    for path in a.iterdir():
        one, other = (np.asarray(Image.open(p)).astype(int) for p in (path, b / path.name))
        largest = max(largest, int(np.abs(one - other).max()))
    return largest


def measure(
    given: argparse.Namespace, text: str, folder: Path, place: Path, limit: float
) -> list[object]:
    """The row of one network, described as ``width/blocks``."""
    device, inputs = torch.device(given.device), sorted(folder.iterdir())
    channels, blocks = map(int, text.split("/"))
    config = GeneratorConfig(width=channels, blocks=blocks)
    ours, theirs = make_generator(config, 3, 3), generator(3, 3, channels, blocks)
    initialise(ours)
    copy_weights(ours, theirs)
    info = ModelInfo(config, RGB, RGB, 256, "resize", "white", 0)
    pair = GeneratorPair(ours.to(device).eval(), None, info)
    translator = Translator(pair, device, precision=given.precision)
    theirs.to(device).eval()
    by_plain, by_diptych = place / f"plain-{channels}-{blocks}", place / f"own-{channels}-{blocks}"

    def plain() -> None:
        plain_loop(theirs, inputs, by_plain, device)

    def diptych() -> None:
        """As the command does."""
        jobs = plan_folder([folder], by_diptych, "png")
        translate_files(translator, jobs, "b", None, given.batch)

    with freed_memory_kept(device):
        times = in_turns({"plain": plain, "diptych": diptych}, device, given.seconds)
    seconds = times.median("diptych") / len(inputs)
    with Image.open(inputs[0]) as first:
        width, height = first.size
    rate = forward(generator_layers(config, 3, 3, height, width)) / seconds
    return [
        f"width {channels}, {blocks} blocks", len(inputs) / times.median("plain"), 1 / seconds,
        times.ratio_text("plain", "diptych"), rate / 1e9, f"{rate / limit:.0%}",
        f"{largest_difference(by_plain, by_diptych)}/255",
    ]  # fmt: skip


def main() -> None:
    parser = options(__doc__, seconds=60)
    parser.add_argument("--networks", nargs="+", default=["32/6"], help="width/blocks")
    parser.add_argument("--folder", type=Path, help="of pictures, all of one size; default: made")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--size", type=int, default=256, help="of the pictures that are made")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16", "int8"])
    given = parser.parse_args()
    start(given)
    device = torch.device(given.device)
    limit = best_rate(choose_translating_precision(given.precision, device), device)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder = place / "in"
        if given.folder:
            folder.mkdir()
            for path in sorted(given.folder.iterdir())[: given.pictures]:
                shutil.copy(path, folder)
        else:
            write_jpegs(folder, given.pictures, given.size)
        rows = [measure(given, text, folder, place, limit.operations) for text in given.networks]
    columns = ["network", "plain, pictures/s", "diptych, pictures/s", "times as fast", "GFLOP/s",
               "of limit", "largest difference"]  # fmt: skip
    text = (
        f"{given.pictures} JPEGs to PNG, on {given.device}, batch {given.batch}. Limit: "
        f"{given.precision} {limit.operations / 1e9:.0f} GFLOP/s ({limit.what}).\n\n"
    )
    report("Translating a folder", text + table(columns, rows), given)


if __name__ == "__main__":
    main()
