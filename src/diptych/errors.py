"""Mistakes that a person can make, as exceptions with one clear line."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, overload

from diptych.words import nearest, printable

Name = TypeVar("Name", bound=str)
HERE = Path(__file__).parent


class DiptychError(Exception):
    """Something failed; the message says in one line what, where, and what to do. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UsageError(DiptychError):
    """The request itself is wrong: an unknown name, a bad value. Exit code 2."""

    exit_code = 2


class DiptychWarning(UserWarning):
    """What a person should know, although all went on."""


def warn(line: str) -> None:
    """A warning that points to the line which called diptych (``skip_file_prefixes`` of 3.12)."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(line, DiptychWarning, stacklevel=level)


def unheard(*said: object) -> None:
    """Does nothing: who listens, unless somebody else does."""


def out_of_memory(error: Exception) -> bool:
    """Whether it says that there is no memory left: Python's own, or PyTorch's of any device."""
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in said)


@overload
def one_of(option: str, text: str, valid: Iterable[Name]) -> Name: ...
@overload
def one_of(option: str, text: str | None, valid: Iterable[Name]) -> Name | None: ...
def one_of(option: str, text: str | None, valid: Iterable[Name]) -> Name | None:
    """``text``, given with ``option``, as one of the ``valid`` names; None for none given.

    Raises UsageError for any other.
    """
    if text is None:
        return None
    names, text = list(valid), str(text)
    for name in names:
        if text.lower() == name.lower():
            return name
    raise UsageError(f"{option} {text!r}: {nearest(text, names)}")
