"""Who may ask for what: the key, the addresses that are answered, the paths that exist."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
from contextlib import AbstractContextManager, ExitStack
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.web.forms import with_boundary_alone
from diptych.web.limits import RefusedError
from diptych.web.page_folder import PageFolder

AGAIN = "/gradio_api/app_id"  # a random number: a page that lost the server asks if it is another's
OPEN = ("/healthz", "/login", "/favicon.ico", AGAIN)  # need no key
GET = ("GET", "HEAD")
API = {
    "/v1/translate": ("POST",), "/v1/models": GET, "/healthz": GET, "/metrics": GET, "/docs": GET,
    "/openapi.json": GET, "/login": (*GET, "POST"),
}  # fmt: skip
# What the page needs of Gradio. It has many more paths, for uses that are not ours.
PAGE = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/pwa_icon",
        "/gradio_api/startup-events", AGAIN,
        "/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/queue/join",
        "/gradio_api/queue/data", "/gradio_api/cancel", "/gradio_api/reset")  # fmt: skip
PAGE_FOLDERS = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/")
FILE, UPLOAD, JOIN = "/gradio_api/file=", "/gradio_api/upload", "/gradio_api/queue/join"
MOST_MESSAGE = 10**6  # bytes of what the page's buttons say
MOST_LOGIN = 4096  # bytes

HEADERS = {
    # The page may load nothing from anywhere else, nor be shown inside another page.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "connect-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


def with_headers(app: ASGIApp) -> ASGIApp:
    """``app``, whose every answer says what a browser may do with it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await app(scope, receive, send_with_headers)

    return answer


class Guard:
    """Lets through what is allowed. Without ``key`` only clients of this very machine."""

    def __init__(self, app: ASGIApp, key: str | None, folder: PageFolder) -> None:
        self.app = app
        self.key = key
        self.folder = folder
        # (A name of its own: to browsers all servers of a machine are one, whatever their ports.)
        self.cookie = f"diptych-{secrets.token_hex(4)}"
        self.session = secrets.token_urlsafe(32)  # in the cookie of those who know the key

    def knows(self, key: str) -> bool:
        """Whether ``key`` is the key; takes as long for a nearly right one as for any other."""
        given = key.encode("utf-8", "replace")
        return self.key is None or hmac.compare_digest(given, self.key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return

        with ExitStack() as held:
            try:
                answer = self._check(scope)
                if answer is None:
                    scope = with_boundary_alone(scope)
                    if scope["path"] == JOIN:
                        receive = await self._checked_message(receive)
                    if scope["path"] == UPLOAD:
                        length = HTTPConnection(scope).headers.get("content-length", "")
                        held.enter_context(self._room_for(length))
            except RefusedError as refusal:
                answer = refuse(refusal)
            if answer is not None:
                await answer(scope, receive, send)
                return
            if scope["method"] == "HEAD" and scope["path"] in API:
                scope = {**scope, "method": "GET"}  # (the server leaves the body out)
            await self.app(scope, receive, send)

    def _room_for(self, length: str) -> AbstractContextManager[None]:
        if not length.isdecimal():
            raise RefusedError(411, "an upload must tell its length")
        return self.folder.room_for(int(length))

    def _check(self, scope: Scope) -> Response | None:
        client, path = HTTPConnection(scope), scope["path"]
        headers = client.headers
        host = headers.get("host", "")
        if self.key is None and path != "/healthz" and not _is_local(host):
            # A page elsewhere may have a name of its own lead here.
            raise RefusedError(403, "without a key only 127.0.0.1 and localhost are answered")
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host:
            raise RefusedError(403, "pages of other sites may not ask here")
        if path not in OPEN and not self._has_key(client):
            if path == "/":
                return RedirectResponse("login", 303)
            answer = refuse(RefusedError(401, "a key is needed: Authorization: Bearer KEY"))
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        if path.startswith(FILE):
            exists = self.folder.holds(path.removeprefix(FILE))
        else:
            exists = path in API or path in PAGE or path.startswith(PAGE_FOLDERS)
        if not exists:
            raise RefusedError(404, "there is nothing here: see /docs")
        if path in API and scope["method"] not in API[path]:
            allowed = ", ".join(API[path])
            answer = refuse(RefusedError(405, f"this takes only {allowed}"))
            answer.headers["allow"] = allowed
            return answer
        return None

    def _has_key(self, client: HTTPConnection) -> bool:
        if self.key is None:
            return True
        scheme, _, given = client.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and any(map(self.knows, _readings(given.strip()))):
            return True
        cookie = client.cookies.get(self.cookie, "")
        return hmac.compare_digest(cookie.encode(), self.session.encode())

    async def log_in(self, key: str) -> bool:
        """Whether the key is right; a wrong one takes a while."""
        if not self.knows(key):
            await asyncio.sleep(0.5)
            return False
        return True

    async def _checked_message(self, receive: Receive) -> Receive:
        """A ``receive`` that gives the whole message, which names no file that it may not."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            self.folder.check_names(json.loads(body))
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, "the message is broken") from error
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again


def refuse(refusal: RefusedError) -> JSONResponse:
    """A refusal as an answer: its one sentence, under ``detail``."""
    headers = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    return JSONResponse({"detail": str(refusal)}, refusal.status, headers)


def _readings(header: str) -> list[str]:
    """A header as it is read here (in Latin-1), and as most clients mean it (in UTF-8)."""
    try:
        return [header, header.encode("latin-1").decode()]
    except UnicodeError:
        return [header]


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # nonsense
        return None


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine; no other name is, wherever it leads."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
