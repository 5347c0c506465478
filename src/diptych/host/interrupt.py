"""Ctrl-C, SIGTERM and a closed terminal ask the loop to stop after its step; a second at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from diptych.errors import DiptychError

# Each with what Python does about it unless told otherwise. (Windows has no SIGHUP.)
USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
if hasattr(signal, "SIGHUP"):
    USUAL[signal.SIGHUP] = signal.SIG_DFL
    USUAL[signal.SIGUSR1] = signal.SIG_DFL  # by which clusters warn of the end
SAME_REQUEST = 3.0  # seconds: torchrun hands a SIGTERM on that its workers have got themselves


class InterruptedRunError(DiptychError):
    """The run was asked to stop, and has saved. Exit code 128 and the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[InterruptedRunError], tuple[str, int]]:
        """(For worker processes, which send their errors home.)"""
        return type(self), (str(self), self.signal_number)


class StopNowError(BaseException):
    """A signal came, and what is under way is left at once for it.

    (As KeyboardInterrupt it is no Exception: what makes the best of damaged files lets it pass.)
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class StopRequest:
    """Holds the number of the signal that asked for a stop; 0 while none has."""

    def __init__(self) -> None:
        self.signal_number = 0
        self.leaves_at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal, also one that came before, raises StopNowError."""
        self.leaves_at_once = True
        try:
            if self.signal_number:
                raise StopNowError(self.signal_number)
            yield
        finally:
            self.leaves_at_once = False

    def note(self, number: int) -> None:
        """A signal has come."""
        self.signal_number = number
        if self.leaves_at_once:
            raise StopNowError(number)


def as_the_program_would(stopped: InterruptedRunError) -> NoReturn:
    """Let the signal do, after all is saved, what it does in the program that called diptych.

    Usually Ctrl-C is a KeyboardInterrupt, and SIGTERM the end of the process. Where the program
    has a handler that returns, ``stopped`` is raised.
    """
    try:
        signal.raise_signal(stopped.signal_number)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(str(stopped)) from None
    raise stopped


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, the first signal is noted; a second one acts as usual.

    (A second SIGTERM within ``SAME_REQUEST`` is the first one, handed on.)
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may handle signals
        return
    handlers = {number: signal.getsignal(number) for number in USUAL}
    # A shell script lets its background jobs ignore Ctrl-C, which is meant for others, and nohup
    # the closing of the terminal.
    # (None: one that a program around Python has set.)
    before = {n: each for n, each in handlers.items() if each not in (signal.SIG_IGN, None)}
    came: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(time.monotonic())
        if len(came) == 1:
            request.note(number)
            return
        again = number == request.signal_number == signal.SIGTERM
        if not again or came[-1] - came[0] > SAME_REQUEST:
            for each, handler in before.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
