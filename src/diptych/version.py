"""Which diptych this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("diptych")
except PackageNotFoundError:  # it was copied from somewhere, and not installed
    __version__ = "unknown"
