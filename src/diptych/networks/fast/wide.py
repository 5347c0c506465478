"""A wide convolution of few channels as another of more: processors multiply many at a time.

The units of a GPU take eight or more channels at once, the vectors of a CPU eight or sixteen. The
generator's first layer has three to multiply at each of its 7x7 places, its last three to make:
more than half of the work is zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.fast.tracing import compiled_for_gpu, quick_on

FEWEST_CHANNELS = 8  # from here on the units are busy with the plain formula
FEWEST_PLACES = 2**19  # of a batch: below, copies of the input take longer than what they save


class WideConv(nn.Conv2d):
    """``nn.Conv2d(channels_in, channels_out, kernel)`` without padding, for a wide kernel.

    On the CPU four pixels of the result are made at once where channels of the output are few: one
    kernel for each, a pixel wider, which moves on by two.

    Compiled for a GPU the same is computed in fewer multiplications, where channels are few:

    * of the input: ``kernel`` copies, each one column further, become channels, and the kernel is
      one column wide;
    * of the output: a kernel one column wide makes what each of its columns adds, and these are
      added up, each from one column further.
    """

    def forward(self, x: Tensor) -> Tensor:
        if quick_on(x) and self._makes_squares(x):
            return self._in_squares(x)
        if not compiled_for_gpu(x) or self.groups > 1:
            return super().forward(x)
        if self.in_channels < FEWEST_CHANNELS and len(x) * x.shape[2] * x.shape[3] > FEWEST_PLACES:
            return self._with_columns_in(x)
        if self.out_channels < FEWEST_CHANNELS and self.bias is not None:
            return self._with_columns_out(x)
        return super().forward(x)

    def _makes_squares(self, x: Tensor) -> bool:
        even = all((size - k) % 2 for size, k in zip(x.shape[2:], self.kernel_size, strict=True))
        return even and self.out_channels // self.groups < FEWEST_CHANNELS and self.bias is not None

    def _in_squares(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(x, *self.of_squares(), stride=2, groups=self.groups), 2)

    def of_squares(self) -> tuple[Tensor, Tensor]:
        """Kernels and bias, each for four pixels of the result; they move on by two."""
        assert self.bias is not None
        places = [(0, 1), (1, 0)]  # how far a kernel moves within the wider one: before, after
        kernels = [F.pad(self.weight, (*across, *down)) for down in places for across in places]
        return torch.stack(kernels, dim=1).flatten(0, 1), self.bias.repeat_interleave(4)

    def _with_columns_in(self, x: Tensor) -> Tensor:
        columns, width = self.kernel_size[1], x.shape[3] - self.kernel_size[1] + 1
        further = torch.cat([x[..., i : i + width] for i in range(columns)], dim=1)
        kernel = self.weight.permute(0, 3, 1, 2).flatten(1, 2)[..., None]
        missing = -kernel.shape[1] % FEWEST_CHANNELS
        kernel = F.pad(kernel, (0, 0, 0, 0, 0, missing))
        return F.conv2d(F.pad(further, (0, 0, 0, 0, 0, missing)), kernel, self.bias)

    def _with_columns_out(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        columns, width = self.kernel_size[1], x.shape[3] - self.kernel_size[1] + 1
        kernel = self.weight.permute(3, 0, 1, 2).flatten(0, 1)[..., None]
        missing = -kernel.shape[0] % FEWEST_CHANNELS
        added = F.conv2d(x, F.pad(kernel, (0, 0, 0, 0, 0, 0, 0, missing)))
        precise = torch.promote_types(added.dtype, torch.float32)  # (seven roundings would show)
        total = self.bias.to(precise)[:, None, None]
        for i, part in enumerate(torch.split(added, self.out_channels, dim=1)[:columns]):
            total = total + part[..., i : i + width].to(precise)
        return total
