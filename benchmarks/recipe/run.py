"""The ablation: train variants at equal cost, several seeds each, and write a table.

    python benchmarks/recipe/run.py towns scratch/recipe --seeds 3
    python benchmarks/recipe/run.py horse2zebra scratch/h2z --variants baseline retouch+plain

The cost of a step is measured for all variants first, side by side in one process; each variant
then gets as many steps as take the baseline's time. So the minutes are equal, and a noisy machine
changes no result. Finished trainings are kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: trainings run side by side, a core each

import torch
import yaml
from table import write_table
from tasks import TASKS, Task, folders, score

from diptych.config import Config
from diptych.data.domain import open_domains
from diptych.host.memory import freed_memory_kept
from diptych.settings import Tree, merge
from diptych.training.choice import make_config
from diptych.training.run_folder import RunFolder
from diptych.training.start import start_run
from diptych.training.trainer import Trainer

HERE = Path(__file__).parent
ROUND = 4  # steps, of which loss.cycle_every makes some cheap: all variants' rounds end in it
ROUNDS = 7
NEVER = 10**9  # checkpoints and sample sheets on the way are not part of the comparison


def load_variants() -> dict[str, Tree]:
    """The settings of every variant in ``variants.yaml``, by name."""
    written: dict[str, Tree] = yaml.safe_load((HERE / "variants.yaml").read_text())

    def settings(name: str) -> Tree:
        own = dict(written[name])
        base = own.pop("from", None)
        return merge(settings(base), own) if base else own

    return {name: settings(name) for name in written}


def variant_config(task: Task, variant: Tree, seed: int, steps: int, precision: str) -> Config:
    """The ``paper`` preset on the task's networks, with the variant's settings on top."""
    training = {"steps": steps, "seed": seed, "device": "cpu", "precision": precision,
                "sample_every": NEVER, "checkpoint_every": NEVER}  # fmt: skip
    settings = merge(task.networks, {"training": training})
    return make_config("paper", settings=merge(settings, variant))


def measure_costs(
    task: Task, variants: dict[str, Tree], place: Path, precision: str
) -> dict[str, float]:
    """The time of a step of each variant, in steps of the baseline; measured in turns."""
    path = place / f"costs-{precision}.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
    missing = [name for name in variants if name not in known]
    if not missing:
        return known
    trainers = {}
    for name in {"baseline", *missing}:
        config = variant_config(task, variants[name], 0, 1000, precision)
        a, b = open_domains(folders(task, place), config)
        trainers[name] = Trainer(config, RunFolder(place), a, b, torch.device("cpu"))
        trainers[name].step()
    rounds: dict[str, list[float]] = {name: [] for name in trainers}
    with freed_memory_kept(torch.device("cpu")):
        for i in range(ROUNDS * ROUND):
            for name, trainer in trainers.items():
                if i % ROUND == 0:
                    rounds[name].append(0.0)
                started = time.perf_counter()
                trainer.step()
                rounds[name][-1] += time.perf_counter() - started
    taken = {name: median(seconds) for name, seconds in rounds.items()}
    known |= {name: seconds / taken["baseline"] for name, seconds in taken.items()}
    path.write_text(json.dumps(known, indent=1))
    return known


def train_and_score(
    task: Task, name: str, seed: int, steps: int, place: Path, precision: str
) -> None:
    """One training, in this process; its result is a file in ``place``."""
    variant = load_variants()[name]
    run = RunFolder(place / "runs" / f"{name}-{seed}")
    started = time.perf_counter()
    config = variant_config(task, variant, seed, steps, precision)
    start_run(folders(task, place), run, config)
    seconds = time.perf_counter() - started
    result = {"variant": name, "seed": seed, "steps": steps, "seconds": round(seconds)}
    result_path(place, name, seed).write_text(json.dumps({**result, **score(task, run.path)}))


def result_path(place: Path, name: str, seed: int) -> Path:
    """Where the result of a training is kept."""
    return place / f"result-{name}-{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("place", type=Path, help="folder for everything that is made")
    parser.add_argument("--variants", nargs="*", help="default: all of variants.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of the baseline; default: the task's")
    parser.add_argument("--precision", default="float32", help="of the trainings; or bf16")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at once")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "SEED", "STEPS"), help="(for itself)")
    given = parser.parse_args()
    task, place, precision = TASKS[given.task], given.place, given.precision
    if given.one:
        name, seed, steps = given.one
        train_and_score(task, name, int(seed), int(steps), place, precision)
        return

    variants = load_variants()
    names = given.variants or list(variants)
    place.mkdir(parents=True, exist_ok=True)
    folders(task, place)
    wanted = {name: variants[name] for name in {"baseline", *names}}
    costs = measure_costs(task, wanted, place, precision)
    steps = given.steps or task.steps
    waiting = [
        (name, seed) for seed in range(given.seeds) for name in names
        if not result_path(place, name, seed).is_file()
    ]  # fmt: skip
    running: list[tuple[str, subprocess.Popen[bytes]]] = []
    while waiting or running:
        while waiting and len(running) < given.jobs:
            name, seed = waiting.pop(0)
            shutil.rmtree(place / "runs" / f"{name}-{seed}", ignore_errors=True)  # half done
            one = ["--one", name, str(seed), str(round(steps / costs[name]))]
            command = [sys.executable, __file__, given.task, str(place), "--precision", precision]
            running.append((f"{name}, seed {seed}", subprocess.Popen(command + one)))
        time.sleep(0.5)
        for what, process in [job for job in running if job[1].poll() is not None]:
            running.remove((what, process))
            print(what, "done" if process.returncode == 0 else "FAILED", flush=True)
            write_table(task, place, names, costs)
    print(f"table in {place / 'table.md'}")


if __name__ == "__main__":
    main()
