"""What a ``.pth`` file holds: named tensors, and nothing that could run."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from diptych.errors import DiptychError

Tensors = dict[str, Tensor]


def read_weights(path: Path) -> Tensors:
    """The tensors of a ``.pth`` file; nothing else in it is run or kept.

    Raises DiptychError with the reason for anything but a list of named tensors.
    """
    if not path.is_file():
        raise DiptychError(f"there is no file {path}: check the name")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused or read all the same
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise DiptychError(f"{path} is not a .pth file, or is damaged") from None
        raise DiptychError(
            f"{path} holds more than tensors, which could run programs: it is not opened. Save "
            "network.state_dict() alone, where the file comes from"
        ) from None
    except Exception as error:  # (on a file of another kind there is hardly one that it cannot be)
        raise DiptychError(f"{path} is not a .pth file, or is damaged") from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]  # as training frameworks wrap it
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise DiptychError(f"{path} is not a list of named tensors (a state_dict)")
    for name, value in found.items():
        _check(value, path, name)
    # DataParallel puts "module." before every name.
    return {str(name).removeprefix("module."): value.float() for name, value in found.items()}


def _check(value: Tensor, path: Path, name: str) -> None:
    """Raise DiptychError for what cannot be the weights of a network."""
    kinds = {
        "no": value.is_meta,
        "nested": value.is_nested,
        "quantised": value.is_quantized,
        "complex": value.is_complex(),
        "sparse": value.layout != torch.strided,
    }
    kind = next((kind for kind, is_such in kinds.items() if is_such), None)
    if kind is not None:
        raise DiptychError(f"{path} holds {kind} numbers ({name}): no such network is known")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise DiptychError(f"{path} is damaged: {name} is larger than what is stored of it")
    try:
        finite = bool(value.float().isfinite().all())  # (float8 cannot be asked)
    except (RuntimeError, NotImplementedError):
        raise DiptychError(
            f"{path} holds numbers of the kind {value.dtype} ({name}): no such network is known"
        ) from None
    if not finite:
        raise DiptychError(
            f"{path} holds NaN or infinity ({name}): its training had failed by then; take an "
            "earlier file"
        )
