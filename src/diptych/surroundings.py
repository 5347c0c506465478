"""What a program around diptych may have set in PyTorch, kept out, and given back untouched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Shared(Generic[T]):
    """A setting of the whole process, also of its other threads.

    The first block that needs it as ``value`` sets it so; the last one gives back what was before.
    """

    def __init__(self, get: Callable[[], T], set_: Callable[[T], None], value: T) -> None:
        self._get, self._set, self._value = get, set_, value
        self._lock, self._inside, self._before = threading.Lock(), 0, value

    @contextmanager
    def within(self) -> Iterator[None]:
        """Within the block it is as needed."""
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = self._get()
                self._set(self._value)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._set(self._before)


def _set_benchmark(on: bool) -> None:
    torch.backends.cudnn.benchmark = on


_dtype = Shared(torch.get_default_dtype, torch.set_default_dtype, torch.float32)
_benchmark = Shared(lambda: torch.backends.cudnn.benchmark, _set_benchmark, True)


@contextmanager
def usual_place() -> Iterator[None]:
    """Within the block tensors are made on the CPU, where no other place is named."""
    # (A default device costs a little in every operation.)
    elsewhere = torch.get_default_device().type != "cpu"
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
        torch.autocast(device.type, enabled=False), _dtype.within(), usual_place(),
        torch.cuda.device(device) if on_gpu else nullcontext(),
    ):  # fmt: skip
        yield


def quickest_convolutions() -> AbstractContextManager[None]:
    """Within the block cuDNN tries its ways to convolve once for each shape, and takes the best."""
    return _benchmark.within()
