"""A process that reads the whole corpus: ``python corpus_reader.py FOLDER`` prints what it found.

FOLDER holds the files of ``all_cases``. The answer is JSON: how many files, which outcomes were
wrong, the slowest read in seconds, and the most memory the process held, in MiB.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
from corpus import Array, Case, Outcome, Refused, Right
from corpus_bad import bad_cases
from corpus_good import good_cases
from corpus_tiff import tiff_cases

from diptych.config import DomainConfig
from diptych.data.decode import DamagedPictureError, read_picture

DEPTHS: tuple[Literal["8bit", "native"], ...] = ("8bit", "native")


def all_cases() -> list[Case]:
    """Every case once."""
    return [*good_cases(), *tiff_cases(), *bad_cases()]


def expected(case: Case, depth: str) -> Outcome:
    """What reading at this depth must give."""
    return case.eight if depth == "8bit" else case.native


def difference(got: Array | str, outcome: Outcome) -> str | None:
    """None where ``got``, an array or the reason of a refusal, is as expected; else a remark."""
    if isinstance(outcome, Refused):
        if isinstance(got, str) and re.search(outcome.reason, got):
            return None
        return f"want a refusal with {outcome.reason!r}, got {describe(got)}"
    if isinstance(outcome, Right):
        right = outcome
    elif isinstance(got, str):
        return None
    else:
        right = outcome.whole
    want = right.pixels
    if isinstance(got, str) or (got.shape, got.dtype) != (want.shape, want.dtype):
        return f"want {describe(want)}, got {describe(got)}"
    away = float(np.abs(got.astype(np.float64) - want).mean())
    return f"{away} away from what it should be" if away > right.within else None


def describe(got: Array | str) -> str:
    return got if isinstance(got, str) else f"{got.dtype} {got.shape}"


def main(folder: Path) -> None:
    wrong, slowest = [], 0.0
    cases = all_cases()
    for case in cases:
        for depth in DEPTHS:
            start = time.perf_counter()
            got: Array | str
            try:
                got = read_picture(folder / case.name, DomainConfig(depth=depth))
            except DamagedPictureError as error:
                got = str(error)
                if len(got.splitlines()) != 1 or not got.isprintable() or str(folder) in got:
                    wrong.append(f"{case.name} ({depth}): no good reason: {got!r}")
            slowest = max(slowest, time.perf_counter() - start)
            if problem := difference(got, expected(case, depth)):
                wrong.append(f"{case.name} ({depth}): {problem}")
    print(json.dumps({"files": len(cases), "wrong": wrong, "slowest": slowest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
