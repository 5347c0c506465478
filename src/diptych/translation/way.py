"""One way of a translator: its generator, which takes pictures whole or by strips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from diptych.data.pixels import Pixels
from diptych.errors import unheard
from diptych.host.surroundings import usual_torch
from diptych.model_file import GeneratorPair
from diptych.network_config import SMALLEST
from diptych.networks.fast.translating import for_translating
from diptych.networks.fast.with_eight_bits import with_eight_bit_convolutions
from diptych.sides import Side
from diptych.translation.large import Cut, Tile, how_to_cut, padded_picture
from diptych.translation.rows import Rows, reflection
from diptych.translation.smooth import Past, smoothed
from diptych.translation.strips import Effort, effort, translate_by_strips

MOST_SHAPES = 1000  # that are remembered: a server sees as many as there are


class Way:
    """Translates pictures ``to`` a domain, at the size at which the network sees them.

    ``tile`` as in Translator. ``precision`` is that of convolutions where a picture is taken whole.
    Raises UsageError for a way that the model does not have.
    """

    def __init__(
        self, pair: GeneratorPair, to: Side, device: torch.device, tile: Tile,
        precision: torch.dtype,
    ) -> None:  # fmt: skip
        self.generator = pair.towards(to)
        self.source, self.target = pair.info.formats(to)
        self.size_multiple = pair.info.generator.size_multiple
        self.device, self.tile, self.precision = device, tile, precision
        self.quick = self.generator  # what takes whole pictures
        self.efforts: dict[tuple[int, int], Effort] = {}  # of pictures of so many rows and columns
        if device.type == "cpu" and precision == torch.bfloat16:
            self.quick = for_translating(self.generator)
        elif precision == torch.int8:
            self.quick = _in_eight_bits(self.generator)

    @property
    def networks(self) -> set[nn.Module]:
        """Those that pictures may go through."""
        return {self.generator, self.quick}

    def steady(self, past: Past) -> nn.Module:
        """What takes whole frames of a video, whose statistics follow those of the ``past``."""
        if self.precision == torch.int8:  # (which would take norms into convolutions)
            return _in_eight_bits(smoothed(self.generator, past))
        return smoothed(self.quick, past)

    def tensor(self, x: Tensor) -> Tensor:
        """Translate an ``(N, C, H, W)`` batch in [-1, 1]; any H and W."""
        count, _, height, width = x.shape
        picture = self._padded_picture(lambda places: x[:1, :, places], height, width)
        cut = self._cut(picture, count, stored=2 * 4 * x[0].numel())
        if cut is None:
            return self._whole(x)
        if count > 1:
            return torch.cat([self.tensor(one[None]) for one in x])
        whole = torch.empty(1, self.target.channels, height, width, dtype=torch.float32)

        def write(top: int, fake: Tensor) -> None:
            whole[:, :, top : top + fake.shape[2]] = fake

        self._by_strips(picture, cut, (height, width), write)
        return whole.to(x.device)

    def arrays(
        self, pictures: Sequence[Pixels], progress: Callable[[float], None] = unheard
    ) -> list[Pixels]:
        """Translate stored ``(H, W, C)`` pictures of one shape in one batch.

        ``progress`` is told the share that is done, 0 to 1, of pictures that are cut into strips.
        """
        first, count = pictures[0], len(pictures)
        height, width = first.shape[:2]
        picture = self._stored_picture(first)
        # What comes out is as large, and writing it may take a copy of 4 bytes a pixel.
        cut = self._cut(picture, count, stored=2 * first.nbytes + 4 * height * width)
        if cut is None:
            stored = torch.from_numpy(np.stack(list(pictures)))
            if self.source.dtype == "uint8":  # a GPU is handed bytes, and hands over bytes
                stored = stored.to(self.device)
            return list(self.target.to_pixels(self._whole(self.source.to_tensor(stored))))
        if count > 1:

            def tell(before: int, share: float) -> None:
                progress((before + share) / count)

            return [self.arrays([one], partial(tell, i))[0] for i, one in enumerate(pictures)]
        whole = np.empty((height, width, self.target.channels), self.target.dtype)

        def write(top: int, fake: Tensor) -> None:
            whole[top : top + fake.shape[2]] = self.target.to_pixels(fake)[0]

        self._by_strips(picture, cut, (height, width), write, progress)
        return [whole]

    def is_too_large(self, picture: Pixels) -> bool:
        """Whether a stored ``(H, W, C)`` picture must be cut into strips.

        Raises NoRoomError if not even strips fit into memory.
        """
        return self._cut(self._stored_picture(picture), 1, stored=2 * picture.nbytes) is not None

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of such a picture as the network takes it."""
        multiple = self.size_multiple
        rows, columns = (max(SMALLEST, -(-n // multiple) * multiple) for n in (height, width))
        return rows, columns

    def _whole(self, x: Tensor) -> Tensor:
        """As ``tensor``, in one pass of the network.

        It is padded by reflection to what the network needs, and cropped back.
        """
        height, width = x.shape[2:]
        rows, columns = self.padded(height, width)
        padded = x.to(self.device)
        if (rows, columns) != (height, width):
            padded = padded[..., reflection(torch.arange(rows), height), :]
            padded = padded[..., reflection(torch.arange(columns), width)]
        # (On the CPU the weights of ``quick`` are in bf16.)
        on = self.device.type != "cpu" and self.precision == torch.bfloat16
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=on):
            fake: Tensor = self.quick(padded)
        return fake[..., :height, :width].to(x.device)

    def _by_strips(
        self, picture: Rows, cut: Cut, shape: tuple[int, int],
        write: Callable[[int, Tensor], None], progress: Callable[[float], None] = unheard,
    ) -> None:  # fmt: skip
        """Translate a padded picture, and ``write(top, rows)`` what lies in ``shape`` of it.

        In float32, whatever the program around has switched on.
        """
        height, width = shape
        done = 0.0

        def tell(work: float) -> None:
            nonlocal done
            done += work
            progress(done / cut.work)

        def write_inside(top: int, fake: Tensor) -> None:
            if top < height:
                write(top, fake[:, :, : height - top, :width])

        with torch.autocast(self.device.type, enabled=False):
            translate_by_strips(self.generator, picture, cut.rows, cut.keep, write_inside, tell)

    def _stored_picture(self, picture: Pixels) -> Rows:
        def read(places: Tensor) -> Tensor:
            return self.source.to_tensor(picture[None, places.numpy()])

        return self._padded_picture(read, *picture.shape[:2])

    def _padded_picture(self, read: Callable[[Tensor], Tensor], height: int, width: int) -> Rows:
        padded = self.padded(height, width)
        return padded_picture(read, self.source.channels, (height, width), padded, self.device)

    def _cut(self, picture: Rows, count: int, stored: float) -> Cut | None:
        if self.tile == "off":
            return None
        shape = picture.height, picture.width
        needs = self.efforts.get(shape)  # (other threads may forget them meanwhile)
        if needs is None:
            if len(self.efforts) >= MOST_SHAPES:
                self.efforts.clear()
            needs = self.efforts[shape] = effort(self.generator, picture)  # (walks all layers)
        return how_to_cut(needs, self.tile, self.device, count, stored)


def _in_eight_bits(network: nn.Module) -> nn.Module:
    with usual_torch(torch.device("cpu")):
        return with_eight_bit_convolutions(network)
