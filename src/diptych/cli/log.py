"""Output that only tells of the work: where nobody can be told any more, the work goes on."""

from __future__ import annotations

import io
import os
import sys


class Log(io.TextIOWrapper):
    """A stream whose reader may end, and whose disk may fill up: the rest is then left out."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), self.fileno())  # (also of what is waiting to be written)
        if self is sys.stdout:
            reason = error.strerror or error
            print(f"diptych: going on without standard output: {reason}", file=sys.stderr)


def output_is_a_log() -> None:
    """From here on the process's standard output and errors are such streams."""
    out, err = sys.stdout, sys.stderr  # (others are a program's own)
    if isinstance(out, io.TextIOWrapper) and out is sys.__stdout__:
        sys.stdout = _as_log(out)
    if isinstance(err, io.TextIOWrapper) and err is sys.__stderr__:
        sys.stderr = _as_log(err)


def _as_log(stream: io.TextIOWrapper) -> Log:
    return Log(
        stream.buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
