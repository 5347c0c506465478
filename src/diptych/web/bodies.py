"""What clients send: not too long, not too slow, and never on the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.web.guard import refuse
from diptych.web.limits import MOST_SAID, Limits, RefusedError

HELD_BODIES = 16  # of the largest size: more than that is not kept in memory as it comes in
OTHERS = 65_536  # bytes of bodies that are neither pictures nor forms


class LimitedBodies:
    """Refuses bodies that are too long or too slow.

    ``most``: bytes by path. Those of ``to_files`` go to files, piece by piece, and take no memory.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, most: Mapping[str, int], to_files: str
    ) -> None:
        self.app = app
        self.limits = limits
        self.most = most
        self.to_files = to_files
        self.held = 0  # bytes of bodies of all requests under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        most = self.most.get(path, OTHERS)
        text = Headers(scope=scope).get("content-length", "0")
        length = int(text) if text.isdecimal() else 0
        body = _Body(scope, receive, send, most, self.limits.seconds_for(length))
        if length > most:
            taken = min(most, self.limits.picture_bytes) if path != self.to_files else most
            advice = ": give them in parts" if path == self.to_files else ""
            sentence = f"{length} bytes are too many: at most {taken} are taken{advice}"
            await body.refuse(413, sentence)
            return
        room = HELD_BODIES * self.limits.body_bytes

        async def receive_some() -> Message:
            message = await body.receive()
            count = len(message.get("body", b""))
            if count and path != self.to_files:
                if self.held + count > room:
                    return await body.refuse(429, "too many uploads at once: try again", 2)
                self.held += count
                body.held += count
            return message

        try:
            await self.app(scope, receive_some, body.send)
        except ClientDisconnect:
            pass  # nobody is there any more
        except asyncio.CancelledError:  # (a second Ctrl-C)
            await body.refuse(503, "the server is stopping")
        finally:
            self.held -= body.held


class _Body:
    """The body of one request as it comes in; the answer may be given before its end."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, most: int, seconds: float
    ) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.most, self.ends = most, time.monotonic() + seconds
        self.received = self.held = 0
        self.complete = self.refused = self.answering = False

    async def receive(self) -> Message:
        if self.refused:
            return {"type": "http.disconnect"}
        if self.complete:
            return await self._receive()  # which returns when the client hangs up
        try:
            message = await asyncio.wait_for(self._receive(), self.ends - time.monotonic())
        except asyncio.TimeoutError:
            return await self.refuse(408, "the request came too slowly: send it faster")
        self.received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self.received > self.most:
            return await self.refuse(413, f"the body is too long: at most {self.most} bytes")
        return message

    async def send(self, message: Message) -> None:
        self.answering = True
        if not self.refused:
            await self._send(message)

    async def refuse(self, status: int, sentence: str, retry_after: int | None = None) -> Message:
        """Answer at once, and let the application think that the client has gone."""
        if not self.answering:
            answer = refuse(RefusedError(status, sentence, retry_after))
            await answer(self.scope, self._receive, self._send)
        self.refused = True
        return {"type": "http.disconnect"}


class _InMemory(MultiPartParser):
    """Starlette's parser, which would put what is larger than a megabyte into a file."""

    spool_max_size = 0  # SpooledTemporaryFile's word for: never


async def read_picture_and_fields(request: Request) -> tuple[bytes, dict[str, str]]:
    """The picture of a request, and the other fields if it is a form.

    Raises RefusedError for bodies that are neither a form with a ``picture`` nor a picture.
    """
    packed = request.headers.get("content-encoding", "identity")
    if packed.lower() != "identity":
        raise RefusedError(
            415, f"the content encoding {packed[:MOST_SAID]!r} is not read: leave it out"
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request)
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        return await request.body(), {}
    raise RefusedError(
        415,
        f"the content type {kind!r} is no picture: send image/png or another picture type, or a "
        "form (multipart/form-data) with a file called picture",
    )


async def _read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    body = await request.body()
    if not body.rstrip().endswith(b"--"):
        raise RefusedError(400, "the form is broken: its end is missing")

    async def stream() -> Any:
        yield body

    try:
        parser = _InMemory(request.headers, stream(), max_files=1, max_fields=8)
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, f"the form is broken: {error.message}") from error
    picture, fields = None, {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            picture = value if name == "picture" else picture
        elif name in fields:
            raise RefusedError(422, f"{name} is given twice")
        elif value:  # (an empty one leaves what the address says)
            fields[name] = value
    if picture is None:
        raise RefusedError(422, "the form has no file called picture: curl -F picture=@photo.jpg")
    return await picture.read(), fields
