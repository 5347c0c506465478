"""CycleGAN whose two ways are computed at the same time, on a GPU.

One picture does not fill a large card, least of all the many small operations between convolutions.
The two ways have nothing to do with one another until one translates what the other has made, so
each gets a stream of its own: the card works on both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.cyclegan import Both, CycleGAN
from diptych.training.two_ways import Network, TwoWays


class InTwoStreams(TwoWays):
    """On a CUDA or ROCm GPU."""

    def __init__(self, model: CycleGAN, device: torch.device) -> None:
        super().__init__(model)
        self.second = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def _both(self, f: Network, g: Network, x: Tensor, y: Tensor) -> Both:
        """``f(x), g(y)``. (The gradients are computed in the same streams: PyTorch sees to it.)"""
        first = torch.cuda.current_stream()
        self.second.wait_stream(first)
        with torch.cuda.stream(self.second):
            of_g = g(y)
        of_f = f(x)
        first.wait_stream(self.second)
        # What one stream made and the other reads may be freed before it has been read.
        y.record_stream(self.second)
        of_g.record_stream(first)
        return of_f, of_g
