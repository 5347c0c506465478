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


def mean_lpips(pairs: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> float | None:
    """The mean over pairs of ``(N, 1 or 3, H, W)`` pictures in [-1, 1]; 0 for equal ones.

    None where the package is missing, or for other numbers of channels. Raises DiptychError if
    the weights of its AlexNet cannot be had: it fetches them on first use.
    """
    pairs = list(pairs)
    if importlib.util.find_spec("lpips") is None or pairs[0][0].shape[1] not in (1, 3):
        return None
    lpips = importlib.import_module("lpips")
    try:
        network = lpips.LPIPS(net="alex", verbose=False).to(device).eval()
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise DiptychError(
            f"the package lpips is installed, but its AlexNet cannot be loaded: {reason}; "
            "give it network once, or pip uninstall lpips"
        ) from error
    distances = [
        network(x.expand(-1, 3, -1, -1).to(device), y.expand(-1, 3, -1, -1).to(device)).mean()
        for x, y in pairs
    ]
    return float(torch.stack(distances).mean())
