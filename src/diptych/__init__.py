"""diptych: two folders of pictures in, a translator between them out.

import diptych
run = diptych.train("horses/", "zebras/", run="runs/h2z")
diptych.evaluate("runs/h2z")
zebra = diptych.load("runs/h2z").to_b("horse.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diptych.errors import DiptychError as DiptychError

if TYPE_CHECKING:
    from diptych.api import evaluate as evaluate
    from diptych.api import train as train
    from diptych.translation.translator import Translator as Translator
    from diptych.translation.translator import load as load

__all__ = ["DiptychError", "Translator", "evaluate", "load", "train"]


def __getattr__(name: str) -> Any:
    """Load PyTorch only when something that needs it is asked for (PEP 562)."""
    if name in ("train", "evaluate"):
        from diptych import api

        return api.train if name == "train" else api.evaluate
    if name in ("load", "Translator"):
        from diptych.translation import translator

        return translator.load if name == "load" else translator.Translator
    raise AttributeError(f"module 'diptych' has no attribute {name!r}")
