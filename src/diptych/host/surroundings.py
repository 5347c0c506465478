"""What a program around diptych may have set in PyTorch, kept out, and given back untouched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch


def shared(
    block: Callable[[], AbstractContextManager[None]],
) -> Callable[[], AbstractContextManager[None]]:
    """``block`` for what is of the whole process, also of its other threads.

    The first of the blocks that overlap begins it, the last one ends it.
    """
    lock, inside, held = threading.Lock(), 0, ExitStack()

    @contextmanager
    def within() -> Iterator[None]:
        nonlocal inside
        with lock:
            inside += 1
            if inside == 1:
                held.enter_context(block())
        try:
            yield
        finally:
            with lock:
                inside -= 1
                if not inside:
                    held.close()

    return within


@shared
@contextmanager
def _float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def usual_place() -> Iterator[None]:
    """Within the block tensors are made on the CPU, where no other place is named."""
    # (A default device costs a little in every operation. PyTorch 2.6 cannot name it where it has
    # been set and taken back.)
    elsewhere = torch.empty(0).device.type != "cpu"
    with torch.device("cpu") if elsewhere else nullcontext():
        yield


@contextmanager
def usual_torch(device: torch.device) -> Iterator[None]:
    """Within the block gradients can be computed, and new tensors are float32 on the CPU.

    The caller's random state, on the CPU and on ``device``, is restored afterwards.
    """
    on_gpu = device.type == "cuda"
    devices = [device] if on_gpu else []
    with (
        torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad(),
        torch.autocast(device.type, enabled=False), _float32(), usual_place(),
        torch.cuda.device(device) if on_gpu else nullcontext(),
    ):  # fmt: skip
        yield


@shared
@contextmanager
def quickest_convolutions() -> Iterator[None]:
    """Within the block cuDNN tries its ways to convolve once for each shape, and takes the best."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
