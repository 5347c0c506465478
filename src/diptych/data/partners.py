"""Which picture of one domain shows the same as which of the other, by their names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def partners(sources: Sequence[Path], targets: Sequence[Path]) -> list[int] | None:
    """For each source file the place of the target of the same name; None if any has not one.

    Names are those without their endings; where these come several times, with the folders that
    they lie in (``lyon/0001`` and ``metz/0001``).
    """
    of_sources, of_targets = [path.stem for path in sources], [path.stem for path in targets]
    if len(set(of_sources)) < len(sources) or len(set(of_targets)) < len(targets):
        of_sources, of_targets = _names_below(sources), _names_below(targets)
    by_name = {name: i for i, name in enumerate(of_targets)}
    one_each = len(by_name) == len(targets) and len(set(of_sources)) == len(sources)
    if not one_each or any(name not in by_name for name in of_sources):
        return None
    return [by_name[name] for name in of_sources]


def belong_together(a: Sequence[Path], b: Sequence[Path]) -> bool:
    """Whether two domains are taken for pairs unasked: each picture has a partner, both ways.

    (Names that only number pictures agree by chance, but then there are rarely as many.)
    """
    return len(a) == len(b) and partners(a, b) is not None


def _names_below(paths: Sequence[Path]) -> list[str]:
    """Names without endings, with the folders below the one that all have in common."""
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common).with_suffix("")) for path in paths]
