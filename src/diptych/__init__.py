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
    from diptych.api import train as train
    from diptych.scoring import Target as Target
    from diptych.scoring import evaluate as evaluate
    from diptych.translation.translator import Translator as Translator
    from diptych.translation.translator import load as load

__all__ = ["DiptychError", "Target", "Translator", "evaluate", "load", "train"]

if not TYPE_CHECKING:  # (by it any name would be right)

    def __getattr__(name: str) -> Any:
        """Load PyTorch only when something that needs it is asked for (PEP 562)."""
        if name == "train":
            from diptych.api import train

            return train
        if name in ("Target", "evaluate"):
            from diptych import scoring

            return getattr(scoring, name)
        if name in ("Translator", "load"):
            from diptych.translation import translator

            return getattr(translator, name)
        raise AttributeError(f"module 'diptych' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
