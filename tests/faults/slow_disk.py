"""``python slow_disk.py train ...``: diptych on a disk where every flush takes its time.

So that a kill at a random moment mostly falls into the writing of something.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

SECONDS = float(os.environ.get("FLUSH_SECONDS", "0.02"))
flush = os.fsync


def slow_flush(handle: int) -> None:
    time.sleep(SECONDS)
    flush(handle)


if __name__ == "__main__":
    os.fsync = slow_flush
    sys.argv[0] = "diptych"
    runpy.run_module("diptych", run_name="__main__")
