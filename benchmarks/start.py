"""How long one waits before anything happens: medians over whole processes, in turns.

    python benchmarks/start.py

The first step is that of a small network on a cached set, from the start of the process on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Times, options, report, start, table

from diptych.data.town import write_towns

FIRST_STEP = """
import os, shutil, sys
import diptych
place = sys.argv[1]
diptych.train(
    data=place + "/towns", run=place + "/run", preset="laptop",
    settings={
        "data": {"size": 64}, "generator": {"width": 16, "blocks": 3},
        "discriminator": {"width": 16}, "training": {"steps": 1000, "device": "cpu"},
    },
    watch=lambda status: os._exit(0),
)
"""


def commands(place: Path) -> dict[str, list[str]]:
    """What is measured; the bare interpreter and PyTorch alone show what cannot be saved."""
    python = sys.executable
    return {
        "python, nothing": [python, "-c", "pass"],
        "import torch": [python, "-c", "import torch"],
        "import diptych": [python, "-c", "import diptych"],
        "diptych --help": [python, "-m", "diptych", "--help"],
        "diptych train --help": [python, "-m", "diptych", "train", "--help"],
        "first step on a cached set": [python, "-c", FIRST_STEP, str(place)],
    }


def main() -> None:
    parser = options(__doc__, seconds=0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--towns", type=int, default=100, help="pictures of each domain")
    given = parser.parse_args()
    start(given)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["DIPTYCH_CACHE"] = str(place / "cache")
        write_towns(place / "towns", given.towns, 10, 64)
        found: dict[str, list[float]] = {what: [] for what in commands(place)}
        for number in range(given.rounds + 1):
            for what, command in commands(place).items():
                shutil.rmtree(place / "run", ignore_errors=True)
                begun = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                if number:  # the first round fills the caches
                    found[what].append(time.perf_counter() - begun)
    times = Times(found)
    rows = [
        [what, times.median(what), min(seconds), max(seconds)] for what, seconds in found.items()
    ]
    text = table(["process", "median, s", "least", "most"], rows)
    report("Starting", f"{given.rounds} processes of each.\n\n{text}", given)


if __name__ == "__main__":
    main()
