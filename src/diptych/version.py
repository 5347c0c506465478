"""Which diptych this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """As ``0.1.0``; "unknown" where it was copied from somewhere, and not installed."""
    try:
        return version("diptych")
    except PackageNotFoundError:
        return "unknown"
