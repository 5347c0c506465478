"""Wording: what messages say about numbers, names and commands."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

WHOLE_NUMBER = "give a whole number"


def counted(number: int, what: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``5 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def within(sentence: str) -> str:
    """A sentence as it stands behind a colon: it begins with a small letter."""
    return sentence[:1].lower() + sentence[1:]


def typed(text: object) -> str:
    """A path, say, as a word of a command that a person types, quoted where need be."""
    word = str(text)
    if isinstance(text, Path) and word.startswith("-"):  # (it would be an option)
        word = f"./{word}"
    if os.name == "nt":
        import subprocess

        return subprocess.list2cmdline([word])
    return shlex.quote(word)


def whole_number(text: str) -> int | None:
    """The number that up to nine digits say; None for any other text."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def how_to_install(extra: str) -> str:
    """What brings an optional part. (It is on no index: the name alone would bring another's.)"""
    return f'in the checkout of diptych, pip install -e ".[{extra}]"'


def first_line(error: Exception) -> str:
    """What an exception says, without what follows; if it says nothing, what it is called."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def printable(text: str) -> str:
    """``text`` as one line: what does not print (newlines, escape codes, half characters) escaped.

    File names may hold any of these.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
