"""diptych: two folders of pictures in, a translator between them out.

import diptych
run = diptych.train("horses/", "zebras/", run="runs/h2z")
diptych.evaluate("runs/h2z")
zebra = diptych.load("runs/h2z").to_b("horse.jpg")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diptych.errors import DiptychError as DiptychError
from diptych.errors import DiptychWarning as DiptychWarning
from diptych.errors import UsageError as UsageError

if TYPE_CHECKING:
    from diptych.api import Run as Run
    from diptych.api import train as train
    from diptych.evaluation.results import Evaluation as Evaluation
    from diptych.scoring import Target as Target
    from diptych.scoring import evaluate as evaluate
    from diptych.training.watch import Status as Status
    from diptych.translation.translator import Translator as Translator
    from diptych.translation.translator import load as load

    __version__: str

__all__ = [
    "DiptychError", "DiptychWarning", "Evaluation", "Run", "Status", "Target", "Translator",
    "UsageError", "evaluate", "load", "train",
]  # fmt: skip

if not TYPE_CHECKING:  # (by it any name would be right)
    _HOMES = {
        "train": "api", "Run": "api", "Status": "training.watch",
        "evaluate": "scoring", "Target": "scoring", "Evaluation": "evaluation.results",
        "load": "translation.translator", "Translator": "translation.translator",
        "__version__": "version",
    }  # fmt: skip

    def __getattr__(name: str) -> Any:
        """Load PyTorch only when something that needs it is asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'diptych' has no attribute {name!r}")
        return getattr(import_module(f"diptych.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
