"""How much a model that retouches changes pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Real

from torch import nn

from diptych.errors import UsageError
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.networks import ResnetGenerator

STRONGEST = 10  # times as much as learned: far beyond what looks like anything


def check_strength(strength: float, info: ModelInfo) -> None:
    """Raises UsageError for a strength that is none, or that a model cannot have."""
    if not (isinstance(strength, Real) and 0 <= strength <= STRONGEST):
        raise UsageError(
            f"strength {strength!r}: give a number from 0 to {STRONGEST}; 1 is as trained"
        )
    if strength != 1 and not info.retouches:
        raise UsageError(
            f"strength {strength:g}: this model paints pictures anew; only changes to a picture, "
            "as models of the presets laptop and best make them, can be weaker or stronger"
        )


def strengthen(pair: GeneratorPair, strength: float) -> None:
    """Make a pair that retouches change pictures ``strength`` times as much as it does.

    Raises UsageError as ``check_strength``.
    """
    check_strength(strength, pair.info)
    for network in _retouching(pair.generators):
        network.strength *= float(strength)


@contextmanager
def at_strength(networks: Iterable[nn.Module], strength: float) -> Iterator[None]:
    """The same for networks, within the block, in which no other thread may use them."""
    changed = {network: network.strength for network in _retouching(networks)}
    for network in changed:
        network.strength *= float(strength)
    try:
        yield
    finally:
        for network, own in changed.items():
            network.strength = own


def _retouching(networks: Iterable[nn.Module]) -> list[ResnetGenerator]:
    return [
        network
        for network in networks
        if isinstance(network, ResnetGenerator) and network.output == "retouch"
    ]
