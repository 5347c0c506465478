"""Load on ``diptych ui``: many clients at once, on loopback, with the `repaint` preset's generator.

    python benchmarks/load.py --clients 16 --seconds 60

Half of the pictures are 64 px, half 256 px. The weights are not trained: the time is the same.
Prints a table and, as its last line, the same as JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image

from diptych.data.pixels import RGB, to_pil
from diptych.data.town import draw_aerial, plan_town
from diptych.model_file import GeneratorPair, ModelInfo, save_model
from diptych.networks import make_generator
from diptych.settings import build_config, read_preset

SIZES = (64, 256)


def save_repaint_model(path: Path) -> None:
    """A model with the networks of the repaint preset."""
    torch.manual_seed(0)
    generator = build_config(read_preset("repaint")).generator
    pair = GeneratorPair(
        make_generator(generator, 3, 3),
        make_generator(generator, 3, 3),
        ModelInfo(generator, RGB, RGB, 64, "resize-crop", "white", 0),
    )
    save_model(path, pair)


def start_server(model: Path) -> tuple[subprocess.Popen[str], str]:
    """The real command, and where it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "diptych", "ui", str(model)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready on "):
        raise SystemExit(f"the server did not start: {line}")
    return process, line.removeprefix("ready on ").strip()


class Load:
    """Clients that ask again as soon as they are answered."""

    def __init__(self, address: str, clients: int) -> None:
        self.address = address
        self.bodies = {size: picture(size) for size in SIZES}
        self.took: dict[int, list[float]] = {size: [] for size in SIZES}  # of answers with 200
        self.statuses: Counter[int] = Counter()
        self.ends = 0.0
        self.threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(clients)
        ]

    def run(self, seconds: float, pid: int) -> list[int]:
        """Ask for so long; returns the server's memory through time, in bytes."""
        self.ends = time.monotonic() + seconds
        for thread in self.threads:
            thread.start()
        memory = []
        while time.monotonic() < self.ends:
            memory.append(memory_of(pid))
            time.sleep(0.25)
        for thread in self.threads:
            thread.join()
        return memory

    def _ask(self, number: int) -> None:
        turn = number
        with httpx.Client(timeout=120) as client:
            while time.monotonic() < self.ends:
                size = SIZES[turn % len(SIZES)]
                turn += 1
                started = time.perf_counter()
                answer = client.post(
                    f"{self.address}/v1/translate", content=self.bodies[size],
                    headers={"content-type": "image/png"},
                )  # fmt: skip
                took = time.perf_counter() - started
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    with Image.open(io.BytesIO(answer.content)) as made:
                        assert made.size == (size, size)
                    self.took[size].append(took)
                else:
                    time.sleep(float(answer.headers.get("retry-after", 1)))


def picture(size: int) -> bytes:
    """A town as a PNG file."""
    file = io.BytesIO()
    to_pil(draw_aerial(plan_town(1, size))).save(file, "PNG")
    return file.getvalue()


def memory_of(pid: int) -> int:
    """Resident memory of a process, in bytes (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Start, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "repaint.safetensors"
        save_repaint_model(model)
        server, address = start_server(model)
        try:
            load = Load(address, options.clients)
            memory = load.run(options.seconds, server.pid)
            metrics = httpx.get(f"{address}/metrics").text
        finally:
            server.terminate()
            server.wait()
    batches = [
        float(line.split()[-1])
        for name in ("sum", "count")
        for line in metrics.splitlines()
        if line.startswith(f"diptych_batch_pictures_{name}")
    ]
    each = batches[0] / batches[1]
    print(f"{options.clients} clients, {options.seconds:g} s, {each:.1f} pictures a batch\n")
    print("| picture | answers | a second | p50 | p90 | p99 | longest |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for size, took in load.took.items():
        p50, p90, p99 = np.percentile(took, [50, 90, 99]) * 1000
        print(
            f"| {size} px | {len(took)} | {len(took) / options.seconds:.1f} | {p50:.0f} ms "
            f"| {p90:.0f} ms | {p99:.0f} ms | {1000 * max(took):.0f} ms |"
        )
    quarter = max(1, len(memory) // 4)
    early, late = (max(part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    print(
        f"\nstatus: {dict(load.statuses)}; memory {early / 1e6:.0f} MB in the second quarter, "
        f"{late / 1e6:.0f} MB in the last"
    )
    print(json.dumps({
        "statuses": load.statuses, "memory": [early, late], "exit": server.returncode,
        "answers": {size: len(took) for size, took in load.took.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
