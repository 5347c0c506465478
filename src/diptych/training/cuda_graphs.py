"""A step's passes on a GPU: recorded once as CUDA graphs, and played back from then on.

A pass is a thousand kernels, and a fast card is done with most of them before the next one has been
asked for. A recording is asked for as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn

from diptych.config import Config, LossConfig
from diptych.cyclegan import Fakes, Terms

Results = tuple[Tensor, Terms, Fakes]  # a loss, its parts, and what was translated
Pass = Callable[[Tensor, Tensor, Fakes, LossConfig], Results]

FIRST_ONES = 3  # passes that are made as usual: kernels are chosen, loaded and compiled in them


def uses_cuda_graphs(config: Config, device: torch.device) -> bool:
    """Whether the steps of a training are recorded.

    Not those of CUT, which asks the CPU for random numbers; nor of several batches, whose results
    would lie on top of each other; nor of pictures of many sizes.
    """
    training = config.training
    alike = config.data.one_size and training.accumulate == 1
    return device.type == "cuda" and config.method == "cyclegan" and alike and training.record


class Recorder:
    """Makes the first three passes of each kind as usual, then records one and replays it.

    The results, and the gradients of ``parameters``, are those of ``work`` itself. They stay as
    they are until the next pass of the kind.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], on: bool) -> None:
        self.parameters, self.on = parameters, on
        self._met: Counter[Hashable] = Counter()
        self._recordings: dict[Hashable, Recording] = {}

    def __call__(
        self, work: Pass, a: Tensor, b: Tensor, fakes: Fakes, weights: LossConfig
    ) -> Results:
        if not self.on:
            return work(a, b, fakes, weights)
        on = tuple(weight > 0 for _, weight in weights if isinstance(weight, float))
        kind = (a.shape, b.shape, tuple(fake.shape for fake in fakes.values()), on)
        if self._met[kind] < FIRST_ONES:
            self._met[kind] += 1
            return work(a, b, fakes, weights)
        recording = self._recordings.get(kind)
        if recording is None or recording.weights != weights:  # (they are part of a recording)
            self._recordings.pop(kind, None)
            recording = None  # (its memory is free before the next one takes as much)
            recording = Recording(work, self.parameters, a, b, fakes, weights)
            self._recordings[kind] = recording
        return recording.play(a, b, fakes)


class Recording:
    """One kind of pass. Its inputs, results and gradients always lie in the same places."""

    def __init__(
        self,
        work: Pass,
        parameters: Sequence[nn.Parameter],
        a: Tensor,
        b: Tensor,
        fakes: Fakes,
        weights: LossConfig,
    ) -> None:
        self.weights = weights
        self.a, self.b = a.clone(), b.clone()
        self.fakes = {name: fake.clone() for name, fake in fakes.items()}
        before = [(parameter, parameter.grad) for parameter in parameters]
        for parameter, _ in before:
            parameter.grad = None
        self.graph = torch.cuda.CUDAGraph()
        # It has memory of its own: in shared memory one pass would work where the results of
        # another lie, which are still wanted, unless all were played in the order of recording.
        # (What other threads do with the GPU meanwhile, like NCCL's, does no harm.)
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.results = work(self.a, self.b, self.fakes, weights)
        self.gradients = [(p, p.grad) for p, _ in before if p.grad is not None]
        for parameter, gradient in before:
            parameter.grad = gradient

    def play(self, a: Tensor, b: Tensor, fakes: Fakes) -> Results:
        """The pass on these pictures."""
        torch._foreach_copy_([self.a, self.b, *self.fakes.values()], [a, b, *fakes.values()])
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.results
