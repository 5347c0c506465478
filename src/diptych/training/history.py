"""The buffer of past fakes that D is shown (Shrivastava et al., 2017, section 2.3)."""

from __future__ import annotations

from itertools import cycle, islice

import torch
from torch import Tensor


class History:
    """Keeps up to ``size`` past pictures, so that D does not forget what G used to do wrong.

    While it fills, pictures pass through and are remembered. Once full, each new picture is, with
    probability one half, either passed on as it is or exchanged for a random remembered one.
    ``size = 0`` passes everything through. Its random choices are its own and can be saved.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.pictures: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(seed)

    def exchange(self, fakes: Tensor) -> Tensor:
        """Show the newest ``(N, C, H, W)`` fakes; get as many to judge. No gradient passes."""
        fakes = fakes.detach()
        if self.size == 0:
            return fakes
        return torch.cat([self._exchange_one(fake) for fake in torch.split(fakes, 1)])

    def recall(self, count: int) -> list[Tensor]:
        """``count`` past pictures, ``(1, C, H, W)``, drawn at random; of fewer, some twice."""
        if not self.pictures:
            return []
        order = torch.randperm(len(self.pictures), generator=self.generator).tolist()
        return [self.pictures[i] for i in islice(cycle(order), count)]

    def _exchange_one(self, fake: Tensor) -> Tensor:
        if len(self.pictures) < self.size:
            self.pictures.append(_copy(fake))
            return fake
        keep, place = torch.rand(2, generator=self.generator).tolist()
        if keep < 0.5:
            return fake
        index = int(place * self.size)
        past = self.pictures[index]
        if past.shape != fake.shape:  # sizes vary without a crop: D needs one shape
            return fake
        self.pictures[index] = _copy(fake)
        return past

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly, as tensors."""
        state = {f"picture-{i}": picture for i, picture in enumerate(self.pictures)}
        return {**state, "generator": self.generator.get_state()}

    def load(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Take back what ``state`` gave, or as much of it as there is room for by now."""
        kept = range(min(len(state) - 1, self.size))
        self.pictures = [state[f"picture-{i}"].to(device) for i in kept]
        self.generator.set_state(state["generator"])

    def drop_other_sizes(self, pixels: int) -> None:
        """Forget pictures that are no squares of ``pixels``: D can be shown only one size.

        (Settings were edited.)
        """
        self.pictures = [one for one in self.pictures if one.shape[2:] == (pixels, pixels)]


def _copy(fake: Tensor) -> Tensor:
    """In the layout that a checkpoint gives back: sums depend on it in their last digits."""
    return fake.clone(memory_format=torch.contiguous_format)
