"""What a run was made with, so that its results can be understood and had again."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from pathlib import Path

import torch

from diptych.config import Config
from diptych.host.device import choose_device, choose_precision
from diptych.version import __version__


def rounding(config: Config) -> dict[str, str]:
    """What the last digits of a result depend on."""
    device = choose_device(config.training.device)
    precision = choose_precision(config.training.precision, device)
    return {
        "torch": str(torch.__version__),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
        "precision": str(precision).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),  # which sum up in another order
    }


def made_with(config: Config) -> dict[str, str]:
    """Versions that a result may depend on."""
    rest = rounding(config)
    found = {
        "diptych": __version__,
        "torch": rest.pop("torch"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **rest,
    }
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():  # an installed package, which may lie in any repository
        return found
    with suppress(OSError, subprocess.SubprocessError):
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=checkout, capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
        found["git"] = revision.stdout.strip()
    return found
