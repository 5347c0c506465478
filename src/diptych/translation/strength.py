"""How much a model that retouches changes pictures."""

from __future__ import annotations

import math
from numbers import Real

from diptych.errors import UsageError
from diptych.model_file import GeneratorPair
from diptych.networks import ResnetGenerator


def strengthen(pair: GeneratorPair, strength: float) -> None:
    """Make a pair that retouches change pictures ``strength`` times as much as it does.

    Raises UsageError for one that paints them anew, and for a strength that is none.
    """
    if not (isinstance(strength, Real) and 0 <= strength < math.inf):
        raise UsageError(f"strength {strength!r}: give a number, 0 or more; 1 is as trained")
    if strength == 1:
        return
    if not pair.info.retouches:
        raise UsageError(
            f"strength {strength:g}: this model paints pictures anew; only changes to a picture, "
            "as models of the preset laptop make them, can be weaker or stronger"
        )
    for network in pair.networks:
        assert isinstance(network, ResnetGenerator)
        network.strength *= float(strength)
