"""How fast does a discriminator learn to tell the two domains apart, with no generator at all?

    python benchmarks/recipe/judge.py

A generator can only learn what D can already see. Here D is trained on real pictures of A as fakes
and of B as real ones; after 250, 500 and 1,000 steps held-out pictures show how well it tells them
apart: the area under the ROC curve of its mean verdict on a picture, and of its single verdicts.
A variant takes seconds, where training a pair of generators takes an hour.
"""

from __future__ import annotations

import os
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from tasks import TASKS, folders
from torch import Tensor

from diptych.data.batches import Batches
from diptych.data.domain import open_domains
from diptych.data.looking import read_for_looking
from diptych.losses import OBJECTIVES
from diptych.network_config import DiscriminatorConfig
from diptych.networks import Discriminator, initialise
from diptych.training.choice import make_config

CPU = torch.device("cpu")
LOOKS = (250, 500, 1000)  # steps
VARIANTS: dict[str, dict[str, Any]] = {
    "rate 2e-4 (the published one)": {"rate": 2e-4},
    "rate 5e-4": {},
    "rate 1e-3": {"rate": 1e-3},
    "rate 2e-3": {"rate": 2e-3},
    "augmentation": {"augment": True},
    "no norm": {"norm": "none"},
    "group norm": {"norm": "group"},
    "spectral norm, hinge": {"norm": "spectral", "adversarial": "hinge"},
    "width 64": {"width": 64},
    "patches of 70 px": {"layers": 3},
    "patches of 16 px": {"layers": 1},
    "batch 4": {"batch": 4},
    "group norm, augmentation": {"norm": "group", "augment": True},
    "group norm, batch 4": {"norm": "group", "batch": 4},
    "group norm, rate 1e-3": {"norm": "group", "rate": 1e-3},
}


def auc(real: Tensor, fake: Tensor) -> float:
    """The share of pairs in which the real one has the higher verdict; equal ones count half."""
    above, equal = real[:, None] > fake, real[:, None] == fake
    return float((above.double() + 0.5 * equal.double()).mean())


def main() -> None:
    config = make_config("repaint", settings=TASKS["horse2zebra"].networks)
    a, b = open_domains(folders(TASKS["horse2zebra"]), config)
    held_a, held_b = (
        torch.cat([domain.pixel_format.to_tensor(picture[None].copy()) for _, picture in
                   read_for_looking(domain.heldout, reading, domain.pixel_format, config)])
        for domain, reading in ((a, config.a), (b, config.b))
    )  # fmt: skip
    draws_a, draws_b = (Batches(d, config.data, 0, i, CPU) for i, d in enumerate((a, b)))
    print("| variant | ms a step | pictures, then verdicts told apart after 250 | 500 | 1,000 |")
    print("|---|---:|---:|---:|---:|")
    for name, changes in VARIANTS.items():
        settings = {"width": 32, "layers": 2, **changes}
        rate, batch = settings.pop("rate", 5e-4), settings.pop("batch", 1)
        objective = OBJECTIVES[settings.pop("adversarial", "lsgan")].discriminator
        torch.manual_seed(0)
        D = Discriminator(DiscriminatorConfig.model_validate(settings), 3)
        initialise(D)
        adam = torch.optim.Adam(D.parameters(), lr=rate, betas=(0.5, 0.999))
        cells, seconds = [], 0.0
        for step in range(LOOKS[-1]):
            started = time.perf_counter()
            x, y = draws_a.at(step * batch, batch), draws_b.at(step * batch, batch)
            real, fake = D(torch.cat([y, x])).chunk(2)
            adam.zero_grad()
            objective(real, fake).backward()
            adam.step()
            seconds += time.perf_counter() - started
            if step + 1 in LOOKS:
                D.eval()
                with torch.no_grad():
                    on_a, on_b = D(held_a).flatten(1), D(held_b).flatten(1)
                D.train()
                pictures = auc(on_b.mean(1), on_a.mean(1))
                cells.append(f"{pictures:.2f}, {auc(on_b.flatten(), on_a.flatten()):.2f}")
        print(f"| {name} | {1000 * seconds / LOOKS[-1]:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
