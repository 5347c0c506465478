"""Hundreds of bad and odd files: each is read right or skipped with its reason, by real processes.

The files and what they must give are in corpus_good.py, corpus_tiff.py and corpus_bad.py.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_OPTIONS
from corpus import Refused, Right
from corpus_good import good_cases
from corpus_process import reasons
from corpus_reader import all_cases, difference
from measured import measure, run_measured
from PIL import Image

from diptych.config import DomainConfig
from diptych.data import eight_bit
from diptych.data.decode import read_picture
from diptych.data.opening import no_warnings

HERE = Path(__file__).parent
GIB = 1024  # in MiB, as peaks are measured here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the corpus in ``files``, a few good pictures in ``b``."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("files", "b"):
        (folder / name).mkdir()
    for case in all_cases():
        (folder / "files" / case.name).write_bytes(case.content)
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "b" / f"{i}.png")
    return folder


def test_every_file_is_read_right_or_refused_in_little_memory_and_time(corpus: Path) -> None:
    reader = [sys.executable, str(HERE / "corpus_reader.py"), str(corpus / "files")]
    code, out, err, peak = measure(reader, timeout=200)
    assert code == 0, err
    found = json.loads(out)
    assert found["files"] >= 300
    assert found["wrong"] == []
    assert found["slowest"] < 10  # (a hundredth of that on a machine with nothing else to do)
    assert peak < GIB  # the bombs would take several
    assert err == ""  # no library wrote its own remarks


def test_pictures_read_in_strips_are_the_same(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pictures of many million pixels are."""
    monkeypatch.setattr(eight_bit, "PIXELS_AT_ONCE", 36 * 5)
    for case in good_cases():
        if isinstance(case.eight, Right):
            read = read_picture(corpus / "files" / case.name, DomainConfig())
            assert difference(read, case.eight) is None, case.name


def test_a_picture_just_below_the_limit_takes_no_more_than_a_gibibyte(tmp_path: Path) -> None:
    """43 bytes of GIF that mean 144 million pixels (found by fuzzing)."""
    start = b"GIF87a\x01\x10\x01\x89PNG".ljust(24, b"\0")
    content = start + b",\0\0\0\0\x01\0\x01\0\0\x08\x04\0\x01\x04\0\0\0\0"
    (tmp_path / "large.gif").write_bytes(content)
    code = (
        "from pathlib import Path\n"
        "from diptych.config import DomainConfig\n"
        "from diptych.data.decode import read_picture\n"
        "print(read_picture(Path('large.gif'), DomainConfig()).shape)\n"
    )
    _, out, err, peak = measure([sys.executable, "-c", code], cwd=tmp_path, timeout=200)
    assert out == "(35073, 4097, 3)\n", err
    assert peak < GIB


@pytest.mark.parametrize("depth", ["8bit", "native"])
def test_training_on_the_whole_corpus(corpus: Path, tmp_path: Path, depth: str) -> None:
    code, out, err, peak = run_measured(
        "train", corpus / "files", corpus / "b", "--run", tmp_path / "run", "--depth", depth,
        "--steps", "2", *TINY_OPTIONS,
    )  # fmt: skip
    assert code == 0, err
    assert err == ""
    assert peak < 1.5 * GIB
    cases = {c.name: c.eight if depth == "8bit" else c.native for c in all_cases()}
    never = [name for name, outcome in cases.items() if not isinstance(outcome, Right)]
    right = [o.pixels for o in cases.values() if isinstance(o, Right)]
    usual = sum((p.dtype, p.shape[2]) == (np.uint8, 3) for p in right)
    counts = re.search(r"A: (\d+) pictures of .* (\d+) held out \((.*)\)", out)
    assert counts is not None, out
    assert counts[3] == "3 channels, uint8, 0 to 255"
    # Files with several frames, of which some is missing, may be read or not.
    unsure = sum("moving" in name or "pages" in name for name in never)
    used = int(counts[1]) + int(counts[2])
    assert usual <= used <= usual + unsure
    assert f"left out {len(cases) - used} pictures" in out
    # All that was left out is named in one line each, with at most a few names.
    assert sum("left out" in line for line in out.splitlines()) == 1


def test_checking_the_whole_corpus(corpus: Path) -> None:
    """Every file that cannot be read is named with its reason, and no other."""
    code, out, err, peak = run_measured(
        "data", "check", corpus / "files", corpus / "b", "--depth", "native", "--json"
    )
    assert (code, err) == (0, "")
    assert peak < 1.5 * GIB
    damaged = reasons(json.loads(out), "damaged")
    for case in all_cases():
        outcome = case.native
        reason = damaged.pop(case.name, None)
        if isinstance(outcome, Refused):
            assert reason is not None, case.name
            assert re.search(outcome.reason, reason), (case.name, reason)
        elif isinstance(outcome, Right):
            assert reason is None, (case.name, reason)
    assert not damaged


def test_overlapping_reads_leave_a_program_its_warnings() -> None:
    """As two threads do; ``warnings.catch_warnings`` would leave all warnings off for good."""
    before = list(warnings.filters)
    first, second = no_warnings(), no_warnings()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with warnings.catch_warnings(record=True) as heard:
        warnings.warn("an oddity in a file", stacklevel=1)
    second.__exit__(None, None, None)
    assert not heard
    assert warnings.filters == before
