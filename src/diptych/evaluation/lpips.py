"""LPIPS (Zhang et al., 2018): distance of two pictures by features of AlexNet, if that is at hand.

The package ``lpips`` needs torchvision, which diptych does without, so it is not among the extras:
where it is installed it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable

import torch
from torch import Tensor

from diptych.errors import DiptychError
from diptych.words import first_line

SMALLEST = 32  # pixels a side: below, AlexNet has nothing left to pool


def mean_lpips(pairs: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> float | None:
    """The mean over pairs of ``(N, 1 or 3, H, W)`` pictures in [-1, 1]; 0 for equal ones.

    None where the package is missing, or of no pairs, other numbers of channels, or pictures too
    small for AlexNet. Raises DiptychError if the package does not load, or not the weights of its
    AlexNet, which it fetches on first use.
    """
    if importlib.util.find_spec("lpips") is None or not (pairs := list(pairs)):
        return None
    if any(x.shape[1] not in (1, 3) or min(x.shape[2:]) < SMALLEST for x, _ in pairs):
        return None
    try:
        lpips = importlib.import_module("lpips")
        network = lpips.LPIPS(net="alex", verbose=False).to(device).eval()
    except (OSError, RuntimeError, ImportError) as error:
        raise DiptychError(
            "the package lpips is installed, but it or its AlexNet cannot be loaded: "
            f"{first_line(error)}; give it network once, mend it, or pip uninstall lpips"
        ) from error
    distances = [
        network(x.expand(-1, 3, -1, -1).to(device), y.expand(-1, 3, -1, -1).to(device)).mean()
        for x, y in pairs
    ]
    return float(torch.stack(distances).mean())
