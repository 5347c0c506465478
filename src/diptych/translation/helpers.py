"""Processes that read and write pictures while a GPU translates others.

Decoding and encoding release Python's lock, but what is around them does not: for 1.5 ms of a
picture of 256 px, which the threads of one process can only spend one after the other, and in which
each gives the lock away, and waits for it again, some 80 times.
"""

from __future__ import annotations

import io
import os
import pickle
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
from diptych.host.interrupt import USUAL

Works = dict[str, Callable[[Any], Any]]

FEWEST_JOBS = 256  # below, starting the processes takes longer than they save
FEWEST_CORES, MOST = 4, 16


class Helpers:
    """Does each of ``works``, by its name, in one of up to ``count`` processes.

    What cannot be handed over, or whose process is gone, is done here.
    """

    def __init__(self, count: int, works: Works) -> None:
        self.works = works
        self.idle = SimpleQueue[Connection | None]()  # (None: of a process that is gone)
        self.connections: list[Connection] = []
        self.processes = []
        # (A copy of this process knows all that it knows at once, and touches no GPU.)
        context = get_context("fork")
        for _ in range(count):
            ours, theirs = context.Pipe()
            self.connections.append(ours)
            process = context.Process(
                target=_serve, args=(theirs, list(self.connections), works), daemon=True
            )
            try:
                with no_warnings(), _signals_kept_back():  # (of threads, which a copy lacks)
                    process.start()
            except OSError:  # no more processes, or no memory for them
                self.connections.pop().close()
                break
            finally:
                theirs.close()
            self.processes.append(process)
            self.idle.put(ours)
        if not self.processes:
            self.idle.put(None)

    def do(self, name: str, given: Any) -> Any:
        """What the work returns; raises what it raises."""
        connection, answer = self.idle.get(), None
        try:
            if connection is not None:
                connection.send((name, given))
                answer = connection.recv()
        except Exception:  # killed, as by a system short of memory; or it cannot be handed over
            connection = None
        finally:
            self.idle.put(connection)
        if answer is None:
            return self.works[name](given)
        made, error = answer
        if error is not None:
            raise error
        return made

    def close(self) -> None:
        """End the processes as soon as they are done with what they are at."""
        for _ in range(len(self.processes)):
            self.idle.get()
        self.idle.put(None)  # (for threads that a second Ctrl-C has left at work)
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            process.join()


def pays(jobs: int, device: torch.device) -> bool:
    """Whether processes of their own are worth their start, to read and write for so many jobs."""
    on_gpu = device.type == "cuda" and sys.platform == "linux"  # (elsewhere there is no fork)
    return on_gpu and jobs >= FEWEST_JOBS and (os.cpu_count() or 1) >= FEWEST_CORES


@contextmanager
def helpers_for(jobs: int, device: torch.device, works: Works) -> Iterator[Helpers | None]:
    """``Helpers`` where they pay, for so many jobs; else None."""
    if not pays(jobs, device):
        yield None
        return
    helpers = Helpers(min(MOST, os.cpu_count() or 1), works)
    try:
        yield helpers
    finally:
        helpers.close()


@contextmanager
def _signals_kept_back() -> Iterator[None]:
    """Those that come within the block are heard after it; by a copy when it is ready for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, USUAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, inherited: list[Connection], works: Works) -> None:
    """What such a process does until its connection is closed, or who held it is gone."""
    for number in USUAL:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # (Ctrl-C is for the one that was started)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, USUAL)
    sys.stdout = sys.stderr = io.StringIO()  # (a progress bar's lock may be held for good)
    torch.set_num_threads(1)  # (a copy has none of its threads, and would wait for them)
    for ours in inherited:  # (while one is open anywhere, nobody learns that the others are not)
        ours.close()
    with suppress(EOFError, OSError):
        while True:
            name, given = connection.recv()
            connection.send_bytes(_answer(works[name], given))


def _answer(work: Callable[[Any], Any], given: Any) -> bytes:
    """What the work makes of it, or what it raises, to be sent."""
    try:
        return pickle.dumps((work(given), None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        try:
            answer = pickle.dumps((None, error))
            pickle.loads(answer)  # (not all errors that can be packed can be unpacked)
        except Exception:
            return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
        return answer
