"""Listening, answering, and ending well."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
import sys
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from diptych.errors import DiptychError, UsageError
from diptych.web.limits import Limits

PORT = 7860
PORTS_TRIED = 20
MOST_CONNECTIONS = 250  # systems allow a process 1,024 open files, or fewer
HEADER_SECONDS = 10.0  # for a client to say what it wants
HEARTBEAT = "/gradio_api/heartbeat/"  # a connection that every open page holds


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket on ``port``; for None on 7860, or the next free one.

    Raises UsageError if the port is taken or the address is not one of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise UsageError(f"--host {host!r} is no address: give 127.0.0.1 or 0.0.0.0") from None
    wanted = [port] if port is not None else [*range(PORT, PORT + PORTS_TRIED), 0]
    for number in wanted:
        made = socket.socket(family, socket.SOCK_STREAM)
        # On Windows the option of Unix, for ports that have just been given up, shares taken ones.
        reuse = "SO_EXCLUSIVEADDRUSE" if sys.platform == "win32" else "SO_REUSEADDR"
        made.setsockopt(socket.SOL_SOCKET, getattr(socket, reuse), 1)
        try:
            made.bind((address[0], number))
            made.listen()
            return made
        except OSError as error:
            made.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError(
                    f"--host {host} is no address of this machine: give 127.0.0.1 or 0.0.0.0"
                ) from None
            reason = error.strerror
    raise UsageError(f"cannot listen on {host}, port {wanted[-1]}: {reason}; give another --port")


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def addresses_of(listening: socket.socket) -> str:
    """What to type into a browser: here, and on other machines if they are let in by any name."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        elsewhere = f"from other machines http://{socket.gethostname()}:{port}"
        return f"http://localhost:{port}, {elsewhere}"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(
    app: ASGIApp, listening: socket.socket, limits: Limits, ready: Callable[[], None]
) -> None:
    """Answer until SIGTERM, Ctrl-C or a closed terminal, finish what is under way, and return.

    ``ready`` is called when requests are answered. A second Ctrl-C ends it at once.
    """
    config = uvicorn.Config(
        app, http=partial(PatientOnce, limits=limits),  # type: ignore[arg-type]  # (it is called)
        ws="none", backlog=MOST_CONNECTIONS // 2, lifespan="on",
        log_level="error", access_log=False, server_header=False, timeout_keep_alive=10,
        timeout_graceful_shutdown=int(limits.upload_seconds + limits.answer_seconds) + 1,
    )  # fmt: skip
    # uvicorn raises the signal again at its end; that has been heard.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = Server(config, ready)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)  # (uvicorn listens for the other two)
    server.run(sockets=[listening])
    if not server.started:
        raise DiptychError("the server did not start: --debug shows why")


class Server(uvicorn.Server):
    """Says when it is ready, and does not wait for pages that are merely open."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open for requests."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, and end."""
        for connection in list(self.server_state.connections):
            scope = getattr(connection, "scope", None)
            if scope and scope["path"].startswith(HEARTBEAT):
                connection.transport.close()
        await super().shutdown(sockets)


class PatientOnce(H11Protocol):
    """Closes connections on which no request begins, or no answer is read, in good time."""

    timer: TimerHandle | None = None
    unread = 0  # bytes of answers that the client had not taken at the last look
    ends = 0.0  # when it must have taken all of them

    def __init__(self, *uvicorns: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*uvicorns, **named)
        self.limits = limits

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:  # (hang up on one that asks for nothing)
            others: set[Any] = self.connections - {self}
            next((one for one in others if one._is_idle()), self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """It may ask again."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        self._stop_waiting()
        self.timer = self.loop.call_later(HEADER_SECONDS, self._out_of_time)

    def _stop_waiting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _out_of_time(self) -> None:
        before, self.unread = self.unread, self.transport.get_write_buffer_size()
        if self.unread:  # (closing would wait for it to be taken, and keep it in memory)
            now = self.loop.time()
            if not before:
                self.ends = now + self.limits.seconds_for(self.unread)
            if self.unread == before or now > self.ends:
                self.transport.abort()
            self._wait()
            return
        if self._is_idle():
            self.transport.close()

    def _is_idle(self) -> bool:
        """Whether it is open, and nothing is under way."""
        answered: Any = self.cycle is None or self.cycle.response_complete
        return bool(answered) and not self.transport.is_closing()
