"""Translating a folder from file to file: the plain loop against diptych.

    python benchmarks/translate.py                          # the laptop preset's network
    python benchmarks/translate.py --networks 16/3 64/9     # the demo's, and the paper's

Plain opens a picture, puts it through the network, saves it as PNG, and turns to the next.
"""

from __future__ import annotations

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

from diptych.config import GeneratorConfig
from diptych.data.pixels import RGB
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.networks import initialise, make_generator
from diptych.translation.files import plan, translate_files
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


def diptych_folder(translator: Translator, folder: Path, out: Path, batch: int) -> None:
    """As the command does."""
    translate_files(translator, plan([folder], out, "png", overwrite=True), "b", None, batch)


def largest_difference(a: Path, b: Path) -> int:
    """Over all pictures of two folders, in steps of 1/255."""
    largest = 0
    for path in a.iterdir():
        one, other = (np.asarray(Image.open(p)).astype(int) for p in (path, b / path.name))
        largest = max(largest, int(np.abs(one - other).max()))
    return largest


def main() -> None:
    parser = options(__doc__, seconds=60)
    parser.add_argument("--networks", nargs="+", default=["32/6"], help="width/blocks")
    parser.add_argument("--folder", type=Path, help="of pictures, all of one size; default: made")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    start(given)
    device = torch.device(given.device)
    limit = best_rate(torch.float32, device)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        made = write_jpegs(place / "in", given.pictures, given.size)
        if given.folder:
            shutil.rmtree(made)
            made.mkdir()
            for path in sorted(given.folder.iterdir())[: given.pictures]:
                shutil.copy(path, made)
        inputs = sorted(made.iterdir())
        with Image.open(inputs[0]) as first:
            width, height = first.size
        for text in given.networks:
            channels, blocks = map(int, text.split("/"))
            config = GeneratorConfig(width=channels, blocks=blocks)
            ours = make_generator(config, 3, 3)
            initialise(ours)
            theirs = generator(3, 3, channels, blocks)
            copy_weights(ours, theirs)
            pair = GeneratorPair(
                ours.to(device).eval(), None, ModelInfo(config, RGB, RGB, 256, "resize", "white", 0)
            )
            translator, network = Translator(pair, device), theirs.to(device).eval()
            outs = (place / f"plain-{channels}-{blocks}", place / f"diptych-{channels}-{blocks}")

            times = in_turns(
                {
                    "plain": lambda n=network, o=outs[0]: plain_loop(n, inputs, o, device),
                    "diptych": lambda t=translator, o=outs[1]: diptych_folder(
                        t, made, o, given.batch
                    ),
                },
                device,
                given.seconds,
            )
            seconds = times.median("diptych") / len(inputs)
            rate = forward(generator_layers(config, 3, 3, height, width)) / seconds
            rows.append(
                [f"width {channels}, {blocks} blocks", len(inputs) / times.median("plain"),
                 1 / seconds, times.ratio_text("plain", "diptych"), rate / 1e9,
                 f"{rate / limit.operations:.0%}", f"{largest_difference(*outs)}/255"]
            )  # fmt: skip
    columns = ["network", "plain, pictures/s", "diptych, pictures/s", "times as fast", "GFLOP/s",
               "of limit", "largest difference"]  # fmt: skip
    text = (
        f"{len(inputs)} JPEGs of {width} x {height} px to PNG, on {given.device}, batch "
        f"{given.batch}. Limit: float32 {limit.operations / 1e9:.0f} GFLOP/s ({limit.what}).\n\n"
    )
    report("Translating a folder", text + table(columns, rows), given)


if __name__ == "__main__":
    main()
