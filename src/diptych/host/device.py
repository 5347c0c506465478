"""Where and in which precision to compute."""

from __future__ import annotations

import os
from typing import Literal

import torch

from diptych.config import Precision
from diptych.errors import DiptychError, UsageError
from diptych.host.processor import has_quick_bf16_vectors, multiplies_bytes
from diptych.words import first_line

KINDS = ("cpu", "cuda", "mps", "xpu")
TranslatingPrecision = Literal["float32", "bf16", "int8", "auto"]  # auto: bf16 where it is quicker


def choose_device(name: str | torch.device) -> torch.device:
    """``auto``: a GPU if there is one (CUDA or ROCm, then MPS), else the CPU.

    Raises UsageError for a device that does not exist here, DiptychError for a GPU that is there
    and cannot be used.
    """
    if name == "auto":
        other = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else other
    try:
        device = torch.device(name)
        if device.type not in KINDS:
            raise RuntimeError("nothing can be computed there")
        if device.type == "cuda" and device.index is None:
            own = os.environ.get("LOCAL_RANK")  # torchrun gives each process its own GPU
            device = torch.device("cuda", int(own) if own else torch.cuda.current_device())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        if str(name).startswith("cuda") and torch.cuda.is_available():  # (full, or of another)
            raise DiptychError(f"cannot use {name}: {first_line(error)}") from error
        raise UsageError(
            f"there is no device {str(name)!r} here: use auto or cpu (or, where there is one, "
            "cuda, cuda:1, mps)"
        ) from None
    return device


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of convolutions. ``auto``: bf16 where the hardware computes in it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def choose_translating_precision(
    precision: TranslatingPrecision, device: torch.device
) -> torch.dtype:
    """As ``choose_precision``; ``int8`` on CPUs that multiply bytes (UsageError on others)."""
    if precision != "int8":
        return choose_precision(precision, device)
    if device.type != "cpu":
        raise UsageError("precision int8 is for the CPU: leave it out on a GPU, or use device cpu")
    if not (torch.cpu._is_vnni_supported() or multiplies_bytes()):
        raise UsageError(
            "precision int8 needs instructions that this processor does not have (VNNI): "
            "leave it out here"
        )
    return torch.int8


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8 or torch.version.hip is not None
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or has_quick_bf16_vectors())
