"""From the disk to a batch: decoding each time against the cache, and what a step waits for.

    python benchmarks/data.py                              # generated JPEGs of 256 px
    python benchmarks/data.py --folder data/horse2zebra/trainA

Plain opens each picture with Pillow, scales it to 286, cuts 256, and mirrors half of them.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import torch
from measure import in_turns, options, report, start, table
from pictures import write_jpegs
from PIL import Image
from step import in_memory
from torch import Tensor

from diptych.config import DataConfig, DomainConfig
from diptych.data.batches import Batches
from diptych.data.cache_folder import open_cache
from diptych.data.domain import Domain
from diptych.data.folder import find_pictures
from diptych.data.pixels import RGB
from diptych.host.memory import freed_memory_kept
from diptych.settings import build_config

CPU = torch.device("cpu")
BATCH = 8  # pictures that one timing makes a batch of


def plain_batch(files: list[Path], size: int) -> Tensor:
    """Decode, scale, cut, mirror, convert: one after the other."""
    side = round(size * 286 / 256)
    pictures = []
    for path in files:
        image = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        left, top = random.randint(0, side - size), random.randint(0, side - size)
        image = image.crop((left, top, left + size, top + size))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        pictures.append(picture / 127.5 - 1)
    return torch.stack(pictures)


def cycle(files: list[Path]) -> Callable[[], list[Path]]:
    """The next BATCH files, round and round."""
    numbers = count()

    def following() -> list[Path]:
        return [files[next(numbers) % len(files)] for _ in range(BATCH)]

    return following


def reading(folder: Path, size: int, seconds: float) -> str:
    """Table: pictures a second, by decoding each time, cold, and from the cache."""
    files, data = find_pictures(folder), DataConfig(size=size)
    begun, used = time.perf_counter(), time.process_time()
    cache = open_cache(folder, files, DomainConfig(), data, 4)
    cold, used = time.perf_counter() - begun, time.process_time() - used
    domain = Domain(folder, cache, tuple(range(len(cache))), (), RGB)
    batches, position = Batches(domain, data, 0, 0, CPU), count(step=BATCH)
    following = cycle(files)
    times = in_turns(
        {
            "plain": lambda: plain_batch(following(), size),
            "cached": lambda: batches.at(next(position), BATCH),
        },
        CPU,
        seconds,
    )
    plain, cached = times.median("plain") / BATCH, times.median("cached") / BATCH
    rows = [
        ["plain: decoded each time, one core", 1 / plain, "1"],
        [
            f"cold: the cache is built, {used / cold:.2f} of {os.cpu_count()} cores busy",
            len(files) / cold, f"{plain * len(files) / cold:.2f}",
        ],
        ["from the cache", 1 / cached, times.ratio_text("plain", "cached")],
    ]  # fmt: skip
    return table(
        [f"{len(files)} pictures, crops of {size} px", "pictures/s", "times as fast"], rows
    )


def waiting(steps: list[str], seconds: float) -> str:
    """Table: the share of a training step in which it waits for its pictures."""
    rows = []
    for text in steps:
        size, width, blocks = map(int, text.split("/"))
        config = build_config(
            {
                "data": {"size": size},
                "generator": {"width": width, "blocks": blocks},
                "discriminator": {"width": width, "layers": 2},
                "training": {"steps": 10**6, "device": "cpu"},
            }
        )
        trainer = in_memory(config, CPU)
        batches = [
            Batches(domain, config.data, 0, stream, CPU)
            for stream, domain in enumerate((trainer.a, trainer.b))
        ]
        position = count()

        def next_pair(batches: list[Batches] = batches, position: count[int] = position) -> None:
            place = next(position)
            for domain in batches:
                domain.at(place, 1)

        times = in_turns({"step": trainer.step, "pictures": next_pair}, CPU, seconds)
        share = times.median("pictures") / times.median("step")
        rows.append(
            [f"{size} px, width {width}, {blocks} blocks", 1e3 * times.median("step"),
             1e3 * times.median("pictures"), f"{share:.2%}"]
        )  # fmt: skip
    return table(["step", "whole, ms", "its pictures, ms", "share"], rows)


def main() -> None:
    parser = options(__doc__, seconds=15)
    parser.add_argument("--folder", type=Path, help="of pictures; default: made ones")
    parser.add_argument("--pictures", type=int, default=400, help="to make (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="of a crop")
    parser.add_argument("--steps", nargs="*", default=["64/16/3", "128/32/6"],
                        help="size/width/blocks of trainings to look at")  # fmt: skip
    given = parser.parse_args()
    start(given)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["DIPTYCH_CACHE"] = str(place / "cache")
        folder = given.folder or write_jpegs(place / "jpegs", given.pictures, given.size)
        text = reading(folder, given.size, given.seconds)
        text += "\n\n" + waiting(given.steps, given.seconds)
    report("From the disk to a batch", text, given)


if __name__ == "__main__":
    with freed_memory_kept(CPU):  # as in trainings
        main()
