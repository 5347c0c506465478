"""A fuzz target for the decoder, with atheris, which is no dependency of diptych.

In an environment of its own::

    pip install atheris -e .
    python tests/fuzz_decode.py --seeds SEEDS     # writes small valid and broken files
    python tests/fuzz_decode.py SEEDS -max_total_time=300 -timeout=25 -rss_limit_mb=3000

The first line of output that is no statistics is a finding; libFuzzer writes the input beside it
as ``crash-...``. To see it again: ``python tests/fuzz_decode.py crash-...``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

PLACE = Path(tempfile.gettempdir()) / f"diptych-fuzz-{os.getpid()}"


def main() -> None:
    if sys.argv[1:2] == ["--seeds"]:
        write_seeds(Path(sys.argv[2]))
        return
    import atheris

    with atheris.instrument_imports(include=["diptych", "PIL", "tifffile"]):
        import tifffile  # noqa: F401
        from decode_property import check_reading

    def one_input(content: bytes) -> None:
        PLACE.write_bytes(content)
        check_reading(PLACE)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def write_seeds(folder: Path) -> None:
    """The smaller files of the corpus."""
    from corpus_reader import all_cases

    folder.mkdir(parents=True, exist_ok=True)
    for case in all_cases():
        if len(case.content) < 6000:
            (folder / case.name).write_bytes(case.content)


if __name__ == "__main__":
    main()
