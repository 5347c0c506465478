"""The two domains by their letters, and the ways between them."""

from __future__ import annotations

from typing import Literal, get_args

Side = Literal["a", "b"]
SIDES: tuple[Side, ...] = get_args(Side)
WAYS: tuple[Side, ...] = ("b", "a")  # in the order in which people read of them: to B first


def other_side(side: Side) -> Side:
    """The domain that pictures come from when they are translated to ``side``, and back."""
    return "b" if side == "a" else "a"


def way_name(to: Side) -> str:
    """``A to B``."""
    return f"{other_side(to).upper()} to {to.upper()}"
