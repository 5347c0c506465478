"""Networks that PyTorch compiles for the GPU at hand (Inductor): ``training.compile``."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from diptych.config import Config
from diptych.cyclegan import CycleGAN
from diptych.networks.fast.casting import Model, twin_of
from diptych.networks.fast.idle_biases import drop_idle_biases

# Compiling takes a minute or more, and saves 10 ms a step of the published networks (NOTES.md).
FEWEST_STEPS, FEWEST_MINUTES = 10_000, 5.0


def compiles(config: Config, steps: int | None, device: torch.device) -> bool:
    """Whether a training of ``steps`` compiles its networks.

    As the settings say; else a long one on a GPU does, of a method that can be compiled.
    """
    training = config.training
    if training.compile is not None:
        return training.compile
    short = steps is not None and steps < FEWEST_STEPS
    brief = training.minutes is not None and training.minutes < FEWEST_MINUTES
    fits = config.data.one_size and not config.loss.has_gradient_penalty
    return bool(device.type == "cuda" and find_spec("triton") and fits and not short and not brief)


def to_be_compiled(model: Model) -> Model:
    """A twin of ``model``, with the same weights, that computes what is to be compiled.

    (All processes of a training use such twins, also one that cannot compile them: the gradients
    that they exchange must be of the same weights.)
    """
    twin = twin_of(model)
    if isinstance(model, CycleGAN):  # (CUT compares features that have them)
        drop_idle_biases(twin)
    return twin


def compiled_twin(model: Model, device: torch.device) -> Model:
    """A twin of ``model`` that has the same weights, and networks that are compiled when they run.

    Compiling takes a while for each shape and mode that a network meets, so the model itself stays
    as it is for sample sheets and scores.
    """
    twin = twin_of(model)
    # Matrix units want channels last; by itself the compiler keeps networks that halve channels
    # from it, and pays for moving them there and back at every convolution.
    options = {"force_layout_optimization": True} if device.type == "cuda" else None
    for network in twin.children():
        network.compile(dynamic=False, options=options)
    return twin


def compilers_reason(error: Exception) -> str | None:
    """Why the networks cannot be compiled, in a line; None if that is not what an error says."""
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    if not isinstance(error, TorchDynamoException):
        return None
    first, *more = str(error).strip().splitlines()
    return more[0] if more and first.endswith("raised:") else first
