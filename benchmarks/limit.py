"""The machine's limit: the best rate of a convolution or a matrix product, in operations/s.

python benchmarks/limit.py
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from measure import options, report, start, table, wait_for
from torch import Tensor

from diptych.host.device import choose_precision
from diptych.networks.fast.eight_bits import Before, EightBitConv, Kernels

TRIES = 6
LONGEST = 1.5  # seconds for each shape


@dataclass(frozen=True)
class Rate:
    """Operations a second, and of what."""

    operations: float
    what: str


def best_rate(dtype: torch.dtype, device: torch.device) -> Rate:
    """The best of several shapes and layouts. int8: as ``--precision int8`` multiplies it."""
    matrices = (1024, 2048) if device.type == "cpu" else (4096, 8192)
    pictures = 1 if device.type == "cpu" else 8
    convolutions = ((128, 32), (128, 64), (256, 64)) if pictures == 1 else ((256, 64), (512, 64))
    found = []
    for n in matrices:
        found.append(Rate(_matrix_rate(n, dtype, device), f"matrix product of {n}"))
    for channels, side in convolutions:
        forms = (torch.contiguous_format, torch.channels_last)
        for form in forms if dtype != torch.int8 else forms[1:]:
            layout = "channels last" if form == torch.channels_last else "channels first"
            rate = _convolution_rate(pictures, channels, side, dtype, form, device)
            found.append(Rate(rate, f"convolution 3x3 of {channels} channels, {side} px, {layout}"))
    return max(found, key=lambda rate: rate.operations)


def has_bf16(device: torch.device) -> bool:
    """Whether the machine computes in bf16 and does not emulate it."""
    return choose_precision("auto", device) == torch.bfloat16


@torch.inference_mode()
def _matrix_rate(n: int, dtype: torch.dtype, device: torch.device) -> float:
    x = torch.randn(n, n, device=device).to(dtype)
    y = torch.randn(n, n, device=device).to(dtype)
    if dtype == torch.int8:
        return 2 * n**3 / _quickest(lambda: torch._int_mm(x, y), device)
    out = torch.empty_like(x)
    return 2 * n**3 / _quickest(lambda: torch.mm(x, y, out=out), device)


@torch.inference_mode()
def _convolution_rate(
    pictures: int,
    channels: int,
    side: int,
    dtype: torch.dtype,
    form: torch.memory_format,
    device: torch.device,
) -> float:
    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(dtype).to(memory_format=form)

    x = made(pictures, channels, side, side)
    weight = made(channels, channels, 3, 3)
    if dtype == torch.int8:
        layer = EightBitConv(Before(), Kernels(weight.float(), None))
        levels = F.pad(x, (1, 1, 1, 1)).view(torch.uint8)
        seconds = _quickest(lambda: layer.convolved(levels, 1.0, 0.0), device)
    else:
        seconds = _quickest(lambda: F.conv2d(x, weight, padding=1), device)
    return 2 * pictures * channels**2 * 9 * side**2 / seconds


def _quickest(run: object, device: torch.device) -> float:
    assert callable(run)
    run()
    best, started = float("inf"), time.perf_counter()
    for _ in range(TRIES):
        wait_for(device)
        before = time.perf_counter()
        run()
        wait_for(device)
        best = min(best, time.perf_counter() - before)
        if time.perf_counter() - started > LONGEST:
            break
    return best


def main() -> None:
    parser = options(__doc__, seconds=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    start(given)
    device = torch.device(given.device)
    dtypes = [torch.float32] + ([torch.bfloat16] if has_bf16(device) else [])
    rows = []
    for dtype in dtypes:
        rate = best_rate(dtype, device)
        rows.append([str(dtype).removeprefix("torch."), rate.operations / 1e9, rate.what])
    report("The machine's limit", table(["precision", "GFLOP/s", "of"], rows), given)


if __name__ == "__main__":
    main()
