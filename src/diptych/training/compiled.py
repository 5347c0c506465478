"""Networks that PyTorch compiles for the GPU at hand (Inductor): ``training.compile``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from diptych.errors import DiptychError
from diptych.networks.casting import twin_of

Model = TypeVar("Model", bound=nn.Module)


def compiled_twin(model: Model, device: torch.device) -> Model:
    """A twin of ``model`` that has the same weights, and networks that are compiled when they run.

    Compiling takes a while for each shape and mode that a network meets, so the model itself stays
    as it is for sample sheets and scores. On CUDA kernels are chosen by trying them out, and what
    a network does is recorded and played back as a CUDA graph.
    """
    twin = twin_of(model)
    mode = "max-autotune" if device.type == "cuda" else "default"
    for network in twin.children():
        network.compile(mode=mode, dynamic=False)
    return twin


@contextmanager
def compiled_step() -> Iterator[None]:
    """A step with compiled networks: what they returned in the one before may be overwritten.

    Turns what the compiler raises into DiptychError.
    """
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise DiptychError(
            f"the networks cannot be compiled here: {reason} (leave training.compile out)"
        ) from error
