"""Processes that read and write pictures while a GPU translates others.

Decoding and encoding release Python's lock, but what is around them does not: 1.5 ms of a picture
of 256 px, which threads of one process can only spend one after the other, and 80 times in it each
has to wait for the lock again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import torch

from diptych.data.opening import no_warnings

Works = dict[str, Callable[[Any], Any]]

FEWEST_JOBS = 256  # below, starting the processes takes longer than they save
FEWEST_CORES, MOST = 4, 16
ORPHANED = 5.0  # seconds after which a process looks whether anybody still needs it


class Helpers:
    """Does each of ``works``, by its name, in one of ``count`` processes."""

    def __init__(self, count: int, works: Works) -> None:
        self.works = works
        self.idle = SimpleQueue[Connection | None]()  # (None: of a process that is gone)
        self.processes = []
        # (A copy of this process knows all that it knows at once, and touches no GPU.)
        context = get_context("fork")
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, works, os.getpid()), daemon=True)
            with no_warnings():  # (of threads, which a copy lacks: it needs none of them)
                process.start()
            theirs.close()
            self.processes.append(process)
            self.idle.put(ours)

    def do(self, name: str, given: Any) -> Any:
        """What the work returns; raises what it raises."""
        connection = self.idle.get()
        answer = None
        if connection is not None:
            try:
                connection.send((name, given))
                answer = connection.recv()
            except (EOFError, OSError):  # killed, as by a system short of memory
                connection = None
        self.idle.put(connection)
        if answer is None:
            return self.works[name](given)
        made, error = answer
        if error is not None:
            raise error
        return made

    def close(self) -> None:
        """End the processes, which have nothing to do any more."""
        for _ in self.processes:
            connection = self.idle.get()
            if connection is not None:
                with suppress(OSError):
                    connection.send(None)
                connection.close()
        for process in self.processes:
            process.join()


def pay(jobs: int, device: torch.device) -> bool:
    """Whether processes of their own are worth their start, to read and write for so many jobs."""
    on_gpu = device.type == "cuda" and sys.platform == "linux"  # (elsewhere nothing can be copied)
    return on_gpu and jobs >= FEWEST_JOBS and (os.cpu_count() or 1) >= FEWEST_CORES


@contextmanager
def helpers_for(jobs: int, device: torch.device, works: Works) -> Iterator[Helpers | None]:
    """``Helpers`` where they pay, for so many jobs; else None."""
    if not pay(jobs, device):
        yield None
        return
    helpers = Helpers(min(MOST, os.cpu_count() or 1), works)
    try:
        yield helpers
    finally:
        helpers.close()


def _serve(connection: Connection, works: Works, parent: int) -> None:
    """What such a process does until it is told to end, or nobody is left to tell it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # (Ctrl-C is for the one that was started)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # (a copy has none of its threads, and would wait for them)
    while True:
        while not connection.poll(ORPHANED):
            if os.getppid() != parent:
                return
        asked = connection.recv()
        if asked is None:
            return
        name, given = asked
        try:
            connection.send((works[name](given), None))
        except Exception as error:  # whatever it is, it is raised where it was asked for
            connection.send((None, error))
