"""What a program around diptych may have set in PyTorch, kept out, and given back untouched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def usual_torch(device: torch.device) -> Iterator[None]:
    """Within the block gradients can be computed, and new tensors are float32 on the CPU.

    Random numbers of the CPU and of ``device`` that are drawn in it are not missing afterwards.
    """
    dtype, place = torch.get_default_dtype(), torch.get_default_device()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
        torch.set_default_dtype(torch.float32)
        if place.type != "cpu":  # (to set one costs a little in every operation)
            torch.set_default_device(None)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            if place.type != "cpu":
                torch.set_default_device(place)


@contextmanager
def quickest_convolutions() -> Iterator[None]:
    """Within the block cuDNN tries its ways to convolve once for each shape, and takes the best."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
