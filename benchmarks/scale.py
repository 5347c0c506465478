"""How cost grows with pixels, width, batch and the number of pictures: not faster than it should.

    python benchmarks/scale.py                  # up to 1e6 pictures in the index
    python benchmarks/scale.py --most 10000

Growth is the exponent between the two largest cases: 0 where size does not matter, 1 where twice
the size costs twice as much. What no longer fits into a processor's caches, and sorting, add to it,
so 0.6 more is let pass; work that were done for each pair of pictures would show as 2. Indices of
caches are synthetic.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from measure import in_turns, options, report, start, table
from step import in_memory

from diptych.config import DataConfig, DomainConfig
from diptych.data import cache_folder
from diptych.data.alike import Look, alike_pairs
from diptych.data.batches import Batches
from diptych.data.cache import Entry, PictureCache, columns
from diptych.data.domain import check_different, make_domain
from diptych.data.sampler import Sampler
from diptych.host.memory import freed_memory_kept
from diptych.settings import build_config
from diptych.training.trainer import Trainer

CPU = torch.device("cpu")
SIDE = 32  # pixels of the synthetic pictures, which all share one place in the file
LET_PASS = 0.6


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Growth between the two largest cases: log of the ratio of costs by log of that of sizes."""
    return math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])


def row(what: str, sizes: Sequence[int], seconds: Sequence[float], allowed: float) -> list[object]:
    """A line of the table, with a mark where growth is too fast."""
    costs = ", ".join(f"{1e3 * s:.3g}" for s in seconds)
    found = exponent(sizes, seconds)
    verdict = "ok" if found <= allowed + LET_PASS else "TOO FAST"
    shown = ", ".join(f"{size:.0e}" if size >= 10000 else str(size) for size in sizes)
    return [what, shown, costs, f"{found:.2f}", f"{allowed:g}", verdict]


def training_rows(seconds: float, shortest: bool) -> list[list[object]]:
    """A training step against pixels, width and batch."""

    def trainer(size: int, width: int, batch: int) -> Trainer:
        config = build_config(
            {
                "data": {"size": size},
                "generator": {"width": width, "blocks": 3},
                "discriminator": {"width": width, "layers": 2},
                "training": {"steps": 10**6, "batch": batch, "device": "cpu"},
            }
        )
        return in_memory(config, CPU)

    sides = (32, 64) if shortest else (64, 128, 256)
    widths = (4, 8) if shortest else (16, 32, 64)
    batches = (1, 2) if shortest else (1, 2, 4, 8)
    small = sides[0]
    groups: list[tuple[str, Sequence[int], list[Trainer], float]] = [
        ("a step, by pixels (width 8)", [s * s for s in sides],
         [trainer(s, 8, 1) for s in sides], 1),
        (f"a step, by width ({small} px)", widths, [trainer(small, w, 1) for w in widths], 2),
        (f"a step, by batch ({small} px, width 8)", batches,
         [trainer(small, 8, n) for n in batches], 1),
    ]  # fmt: skip
    rows = []
    for what, sizes, trainers, allowed in groups:
        variants = {str(n): t.step for n, t in zip(sizes, trainers, strict=True)}
        times = in_turns(variants, CPU, seconds)
        rows.append(row(what, sizes, [times.median(name) for name in variants], allowed))
    return rows


def entries(count: int) -> list[Entry]:
    """What the index of a cache with ``count`` pictures says."""
    return [
        Entry(
            f"{i // 1000:04}/{i:07}.jpg", hashlib.sha256(str(i).encode()).hexdigest(),
            0, (SIDE, SIDE, 3), (0.0,), (255.0,), "1 2 3",
        )
        for i in range(count)
    ]  # fmt: skip


class Index:
    """A synthetic folder of ``count`` pictures and its cache."""

    def __init__(self, place: Path, count: int) -> None:
        self.count, self.folder = count, place / f"pictures-{count}"
        self.data, self.reading = DataConfig(size=SIDE), DomainConfig()
        index = entries(count)
        self.files = [self.folder / entry.name for entry in index]
        own = cache_folder.place_of(self.folder, self.files, self.reading, self.data, 4)
        own.mkdir(parents=True)
        np.zeros(SIDE * SIDE * 3, np.uint8).tofile(own / "pixels.bin")
        text = {"dtype": "uint8", "entries": columns(index), "skipped": []}
        (own / "index.json").write_text(json.dumps(text))
        self.cache = self.open()
        self.domain = make_domain(self.folder, self.cache, None, self.reading, self.data)
        self.batches = Batches(self.domain, self.data, 0, 0, CPU)
        self.sampler = Sampler(len(self.domain.train), 0, 0)
        rng = np.random.default_rng(0)
        self.looks = [
            Look(int(bits), small)
            for bits, small in zip(
                rng.integers(0, 2**63, min(count, MOST_LOOKS)),
                rng.integers(0, 256, (min(count, MOST_LOOKS), 256), dtype=np.uint8),
                strict=True,
            )
        ]

    def open(self) -> PictureCache:
        return cache_folder.open_cache(self.folder, self.files, self.reading, self.data, 4)


MOST_LOOKS = 30_000  # (to read so many takes ``data check`` minutes)


def picture_rows(most: int) -> list[list[object]]:
    """What a set costs at the start of a run and at each step, by number of pictures."""
    sizes = [n for n in (100, 1000, 10_000, 100_000, 1_000_000) if n <= most]
    with tempfile.TemporaryDirectory() as name:
        os.environ["DIPTYCH_CACHE"] = str(Path(name) / "cache")
        indices = [Index(Path(name), n) for n in sizes]
        asked: list[tuple[str, Callable[[Index], object], float]] = [
            ("open an unchanged cache", Index.open, 1),
            ("hold out a share", lambda i: make_domain(
                i.folder, i.cache, None, i.reading, i.data), 1),
            ("the fingerprint of a run's pictures", lambda i: i.domain.fingerprint(), 1),
            ("compare A with B", lambda i: compare(i), 1),
            ("shuffle for the next pass", lambda i: i.sampler.draw(
                i.sampler.count * next(PASSES)), 1),
            ("a batch of one", lambda i: i.batches.at(7, 1), 0),
        ]  # fmt: skip
        rows = [row(what, sizes, [quickest(run, i) for i in indices], allowed)
                for what, run, allowed in asked]  # fmt: skip
        looked = sorted({len(i.looks) for i in indices})
        by_size = {len(i.looks): i for i in indices}
        seconds = [quickest(lambda i: alike_pairs(i.looks), by_size[n]) for n in looked]
        # (Pairs within a row of its tables, but at most 200 a picture: linear from 1e5 on.)
        rows.append(row("data check: pictures that look alike", looked, seconds, 2))
    return rows


PASSES = iter(range(10**9))


def compare(index: Index) -> None:
    """The check that A and B are different, with a copy of A that differs in the last picture."""
    other = index.cache.entries[:-1]
    fewer = PictureCache(index.cache.pixels, index.cache.dtype, other, ())
    check_different(
        index.domain,
        type(index.domain)(index.folder, fewer, (), (), index.domain.pixel_format),
    )


def quickest(run: Callable[[Index], object], index: Index) -> float:
    """The best of a few runs, repeated within a timing where one is too short to time."""
    run(index)
    calls, best = 1, float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        for _ in range(calls):
            run(index)
        took = time.perf_counter() - begun
        best = min(best, took / calls)
        if took < 0.01:
            calls = max(calls, round(calls * 0.02 / max(took, 1e-7)))
        if took > 3:
            break
    return best


def main(arguments: argparse.Namespace) -> None:
    rows = training_rows(arguments.seconds, arguments.shortest) + picture_rows(arguments.most)
    columns = ["cost of", "sizes", "ms", "growth", "at most", ""]
    report("How cost grows", table(columns, rows), arguments)


if __name__ == "__main__":
    with freed_memory_kept(CPU):  # as in trainings
        parser = options(__doc__, seconds=10)
        parser.add_argument("--most", type=int, default=1_000_000, help="pictures")
        parser.add_argument("--shortest", action="store_true", help="tiny trainings only")
        given = parser.parse_args()
        start(given)
        main(given)
