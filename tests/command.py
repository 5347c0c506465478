"""The real command in real processes that need not load PyTorch first.

Most of what a short command takes is the loading, three seconds of one core. So a process that has
loaded it waits here, and forks one for each command: with arguments, folder, environment, output
and exit code of its own. (What sends signals or looks at memory starts ``python -m diptych``.)
"""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

LONGEST = 300  # seconds


class Commands:
    """Runs commands one after the other."""

    def __init__(self, folder: Path) -> None:
        self.out, self.err = folder / "out", folder / "err"
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def run(
        self, *arguments: str | Path, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run`` does it, in the environment of now."""
        command = ["diptych", *map(str, arguments)]
        request = {"command": command, "cwd": str(cwd or Path.cwd()), "environment": {**os.environ},
                   "out": str(self.out), "err": str(self.err)}  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], LONGEST)[0]:
            os.killpg(self.process.pid, 9)
            raise subprocess.TimeoutExpired(command, LONGEST)
        code = int(self.process.stdout.readline())
        out, err = (path.read_text("utf-8") for path in (self.out, self.err))
        return subprocess.CompletedProcess(command, code, out, err)

    def close(self) -> None:
        """The waiting process ends with its input."""
        self.process.communicate(timeout=LONGEST)


def serve() -> None:
    """Fork a process for each line of the input; its exit code is a line of the output."""
    import diptych.scoring
    import diptych.training.samples  # noqa: F401 (with those before, nearly all)
    from diptych.cli.main import main

    gc.freeze()  # what is loaded need not be taken down again by every process
    for line in sys.stdin:
        if not (child := os.fork()):
            become(json.loads(line))
            sys.exit(main())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(request: dict[str, Any]) -> None:
    """Take on what a new process would have been given."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for handle, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["command"]


if __name__ == "__main__":
    serve()
