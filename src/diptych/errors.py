"""Mistakes that a person can make, as exceptions with one clear line."""

from __future__ import annotations

import inspect
import os
import shlex
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, overload

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


def warn(line: str) -> None:
    """A warning that points to the line which called diptych (``skip_file_prefixes`` of 3.12)."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(line, stacklevel=level)


def unheard(*said: object) -> None:
    """The listener to tell where there is no other."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the closest of ``valid``, or the whole list of them.

    Numbers are meant as they are: ``float16`` is no slip for ``float32``.
    """
    names = sorted(valid)
    likely = {
        name.lower(): name
        for name in names
        if not (_digits(name) and _digits(word)) or _digits(name) == _digits(word)
    }
    close = get_close_matches(word.lower(), likely, n=1, cutoff=0.5)
    if close:
        return f"did you mean {likely[close[0]]!r}?"
    return "choose from " + ", ".join(names)


def _digits(word: str) -> str:
    return "".join(filter(str.isdigit, word))


def printable(text: str) -> str:
    """``text`` as one line: what does not print (newlines, escape codes, half characters) escaped.

    File names may hold any of these.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, what: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def first_line(error: Exception) -> str:
    """What an exception says, without what follows; if it says nothing, what it is called."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def out_of_memory(error: Exception) -> bool:
    """Whether it says that there is no memory left: Python's own, or PyTorch's of any device."""
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in said)


def typed(text: object) -> str:
    """A path, say, as a word of a command that a person types, quoted where need be."""
    word = str(text)
    if isinstance(text, Path) and word.startswith("-"):  # (it would be an option)
        word = f"./{word}"
    if os.name == "nt":
        import subprocess

        return subprocess.list2cmdline([word])
    return shlex.quote(word)


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


def how_to_install(extra: str) -> str:
    """What brings an optional part. (It is on no index: the name alone would bring another's.)"""
    return f'in the checkout of diptych, pip install -e ".[{extra}]"'
