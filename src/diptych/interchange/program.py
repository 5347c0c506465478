"""A generator as a program that takes pictures of any size: what goes to ONNX and torch.export."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as tracing

from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError
from diptych.model_file import GeneratorPair
from diptych.network_config import SMALLEST
from diptych.sides import Side


@dataclass(frozen=True)
class ExportedWay:
    """One generator of a pair, and what it translates between."""

    generator: nn.Module
    to: Side
    source: PixelFormat
    target: PixelFormat
    multiple: int  # of height and width, that the generator needs

    @property
    def name(self) -> str:
        """``to_b``: what its files are called."""
        return f"to_{self.to}"

    @property
    def smallest(self) -> int:
        """Pixels a side that the generator needs at least, a multiple of ``multiple``."""
        return -(-SMALLEST // self.multiple) * self.multiple

    @property
    def eight_bit(self) -> bool:
        """Both domains are stored as uint8."""
        return self.source.dtype == self.target.dtype == "uint8"


def one_way(pair: GeneratorPair, to: Side) -> ExportedWay:
    """The one that translates to domain ``to``. Raises UsageError if there is none."""
    source, target = pair.info.formats(to)
    return ExportedWay(pair.towards(to), to, source, target, pair.info.generator.size_multiple)


class AnySize(nn.Module):
    """``(N, C, H, W)`` float32 in [-1, 1] to the same size; any H and W.

    The picture is padded by reflection to what the network needs and cropped back, as
    ``Translator.tensor`` does it, in terms of sizes that are known only when the program runs.
    """

    def __init__(self, way: ExportedWay) -> None:
        super().__init__()
        self.generator = way.generator
        self.multiple = way.multiple
        self.smallest = way.smallest

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = (self._padded(n, x.device) for n in (height, width))
        fake: Tensor = self.generator(x.index_select(2, rows).index_select(3, columns))
        # (A slice would be traced with the assumption that something was padded.)
        rows, columns = (torch.arange(n, device=x.device) for n in (height, width))
        return fake.index_select(2, rows).index_select(3, columns)

    def _padded(self, length: int, device: torch.device) -> Tensor:
        """Indices 0 .. length - 1, then those that walk back and forth (no edge repeated)."""
        rounded = (length + self.multiple - 1) // self.multiple * self.multiple
        places = torch.arange(_larger(rounded, self.smallest), device=device)
        period = torch.full((1,), _larger(2 * (length - 1), 1), device=device)
        places = places % period
        return torch.minimum(places, period - places)


def _larger(first: int, second: int) -> int:
    larger: int = torch.sym_max(first, second)  # type: ignore[no-untyped-call]
    return larger


class Pictures(nn.Module):
    """``(N, H, W, C)`` uint8 to the same size; any H and W."""

    def __init__(self, way: ExportedWay) -> None:
        super().__init__()
        self.translate = AnySize(way)
        self.way = way

    def forward(self, pictures: Tensor) -> Tensor:
        fake: Tensor = self.translate(self.way.source.to_tensor(pictures))
        target = self.way.target
        low, high = target.lowest, target.highest  # (of 8 bits there is one range)
        stored = (fake.permute(0, 2, 3, 1) + 1) * ((high - low) / 2) + low
        return stored.round().clamp(*map(float, target.bounds)).to(torch.uint8)


def trace(way: ExportedWay, uint8: bool) -> ExportedProgram:
    """The generator as a program for any number of pictures of any size, on the CPU.

    Its argument is called ``pictures`` (``(N, H, W, C)`` uint8) or ``x`` (``(N, C, H, W)`` float32
    in [-1, 1]). Raises DiptychError if this PyTorch is too old.
    """
    if not hasattr(tracing, "backed_size_oblivious"):
        raise DiptychError(
            f"PyTorch {torch.__version__} cannot export pictures of any size: "
            "pip install --upgrade torch"
        )
    any_size = Dim.DYNAMIC
    if uint8:
        module: nn.Module = Pictures(way)
        example = torch.zeros(2, 50, 41, way.source.channels, dtype=torch.uint8)
        shapes = {0: any_size, 1: any_size, 2: any_size}
    else:
        module = AnySize(way)
        example = torch.zeros(2, way.source.channels, 50, 41)
        shapes = {0: any_size, 2: any_size, 3: any_size}
    frozen = deepcopy(module).eval().requires_grad_(False)
    # Otherwise a program refuses sizes at which a map inside is one pixel wide, as the innermost
    # one of a U-Net at its smallest size.
    with tracing.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(frozen, (example,), dynamic_shapes=(shapes,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # (names folders of this machine)
    return program
