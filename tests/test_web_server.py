"""``diptych ui`` among strangers: the key, the paths, crowds, dawdlers, and the end."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import Command
from PIL import Image
from retouching import RETOUCH, saved

pytest.importorskip("gradio", reason="the extra [web] is not installed")

import uvicorn
from fastapi import FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState
from web import Server, as_png, running, wait_until

from diptych.cli.ui import ui
from diptych.data.pixels import RGB
from diptych.errors import DiptychError, UsageError
from diptych.model_file import GeneratorPair, ModelInfo, load_model, save_model
from diptych.network_config import GeneratorConfig
from diptych.networks import make_generator
from diptych.training.samples import Translated
from diptych.translation.translator import load
from diptych.web.api import make_api
from diptych.web.bodies import HELD_BODIES, LimitedBodies
from diptych.web.guard import Guard
from diptych.web.limits import Limits, RefusedError
from diptych.web.metrics import Metrics
from diptych.web.models import load_models
from diptych.web.page_actions import MOST_AT_ONCE, Actions, free_name, shortened, stem_of
from diptych.web.page_folder import PageFolder, page_folder
from diptych.web.server import MOST_CONNECTIONS, PatientOnce, addresses_of, listen
from diptych.web.service import Service
from diptych.web.worker import Order

KEY = "correct horse battery staple"
LARGE = as_png(Image.new("RGB", (1200, 1200), "green"))  # takes the tiny network a while


@pytest.fixture(scope="module")
def public(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all machines, with a key, room for three pictures, and little patience."""
    notes = tmp_path_factory.mktemp("public") / "notes"
    options = ["--host", "0.0.0.0", "--waiting", "3", "--upload-seconds", "3"]
    with running(notes, [trained], *options, environment={**os.environ, "DIPTYCH_KEY": KEY}) as one:
        one.address = f"http://127.0.0.1:{one.port}"
        yield one


@pytest.fixture
def bearer() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}"}


def translate(server: Server, body: bytes, headers: dict[str, str]) -> httpx.Response:
    headers = {"content-type": "image/png", **headers}
    return httpx.post(
        f"{server.address}/v1/translate", content=body, headers=headers, timeout=LONGEST
    )


def test_other_machines_need_a_key(diptych: Command, trained: Path) -> None:
    for options, words in [
        (["--host", "0.0.0.0"], "set a key in the environment, DIPTYCH_KEY"),
        (["--host", "0.0.0.0", "--key", "short"], "shorter than 16 characters"),
        (["--host", "no.such.host.invalid"], "is no address"),
        (["--waiting", "0"], "--waiting must be a number above 0"),
        (["--megapixels", "inf"], "--megapixels must be a number above 0"),
    ]:
        done = diptych("ui", trained, *options)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_keys_of_any_letters(tmp_path: Path) -> None:
    """Clients send them in UTF-8 or in Latin-1; servers read headers as Latin-1."""
    key = "schlüssel-ohne-schloss"
    guard = Guard(FastAPI(), key, PageFolder(tmp_path))

    def knows(header: bytes) -> bool:
        sent = {"type": "http", "headers": [(b"authorization", b"Bearer " + header)]}
        return guard._has_key(HTTPConnection(sent))

    assert knows(key.encode())
    assert knows(key.encode("latin-1"))
    assert not knows(b"schlussel-ohne-schloss")
    assert not knows("schl\x81ssel-ohne-schloss".encode("latin-1"))


def test_guessing_at_the_page_takes_a_while(tmp_path: Path) -> None:
    guard = Guard(FastAPI(), KEY, PageFolder(tmp_path))
    for key, right in ((KEY[:-1], False), ("", False), (KEY, True)):
        began = time.monotonic()
        assert asyncio.run(guard.log_in(key)) is right
        assert right or time.monotonic() - began > 0.4


def test_what_the_page_sends_is_bounded(public: Server, bearer: dict[str, str]) -> None:
    """A file must say how long it is before there is room for it, and a message is short."""
    form = httpx.Request("POST", "http://x", files={"files": ("x.png", bytes(9))})
    body = form.read()
    headers = {**bearer, "content-type": form.headers["content-type"]}
    address = f"{public.address}/gradio_api/upload"
    pieces = httpx.post(address, content=iter([body]), headers=headers)
    assert pieces.status_code == 411
    assert httpx.post(address, content=body, headers=headers).status_code == 200
    long = json.dumps({"data": ["x" * 10**6], "fn_index": 0, "session_hash": "x"})
    join = f"{public.address}/gradio_api/queue/join"
    told = httpx.post(join, content=long, headers={**bearer, "content-type": "application/json"})
    assert (told.status_code, told.json()["detail"]) == (
        413, f"{len(long)} bytes are too many: at most 1000000 are taken"
    )  # fmt: skip


def test_a_taken_port_is_named_or_passed_over() -> None:
    with listen("127.0.0.1", None) as one, listen("127.0.0.1", None) as other:
        port = one.getsockname()[1]
        assert other.getsockname()[1] != port
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1, port {port}"):
            listen("127.0.0.1", port)
    with pytest.raises(UsageError, match="is no address: give 127"):
        listen("127..0.0.1", None)
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is no address of this machine"):
        listen("192.0.2.1", None)  # (of those that are kept for documentation)


def test_what_to_type_into_a_browser() -> None:
    with listen("127.0.0.1", None) as here, listen("0.0.0.0", None) as everywhere:
        assert addresses_of(here) == f"http://127.0.0.1:{here.getsockname()[1]}"
        port = everywhere.getsockname()[1]
        other = f"http://{socket.gethostname()}:{port}"
        assert addresses_of(everywhere) == f"http://localhost:{port}, from other machines {other}"


def test_nothing_without_the_key(public: Server, bearer: dict[str, str]) -> None:
    paths = ["/v1/models", "/metrics", "/docs", "/openapi.json", "/config", "/theme.css",
             "/gradio_api/queue/data?session_hash=1", "/assets/index.js"]  # fmt: skip
    wrong = [{}, {"authorization": "Bearer " + KEY[:-1]}, {"authorization": f"Basic {KEY}"},
             {"cookie": f"diptych={KEY}"}, {"cookie": "diptych=;,\\,=\"="},
             {"authorization": "Bearer ключ".encode()}]  # fmt: skip
    for headers in wrong:
        for path in paths:
            answer = public.ask(path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
        assert translate(public, b"", headers).status_code == 401  # type: ignore[arg-type]
        assert public.ask("/", headers=headers).headers["location"] == "login"
    assert public.ask("/healthz").status_code == 200
    assert public.ask("/v1/models", headers=bearer).status_code == 200
    assert translate(public, as_png(Image.new("RGB", (32, 32))), bearer).status_code == 200


def test_every_answer_says_what_a_browser_may_do_with_it(
    public: Server, bearer: dict[str, str]
) -> None:
    for path, headers, status in (
        ("/v1/models", bearer, 200), ("/v1/models", {}, 401), ("/x", bearer, 404),
    ):  # fmt: skip
        answer = public.ask(path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    too_long = httpx.post(f"{public.address}/x", content=bytes(70_000), timeout=LONGEST)
    assert too_long.status_code == 413
    assert too_long.headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_for_the_key(public: Server) -> None:
    with httpx.Client(base_url=public.address, follow_redirects=True, timeout=LONGEST) as client:
        assert "This server asks for its key" in client.get("/").text
        assert "That is not the key" in client.post("/login", data={"key": "wrong"}).text
        assert not client.cookies
        page = client.post("/login", data={"key": KEY})
        assert page.status_code == 200
        assert "gradio_config" in page.text
        assert KEY not in str(client.cookies)
        assert "HttpOnly; Path=/; SameSite=strict" in page.history[0].headers["set-cookie"]
        assert client.get("/v1/models").status_code == 200


def test_other_sites_may_not_use_a_browser_for_it(served: Server, public: Server) -> None:
    """Neither by a form on a page of theirs, nor by a name of theirs that leads here."""
    picture = as_png(Image.new("RGB", (32, 32)))
    for headers in [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://["},
                    {"host": "evil.example"}, {"host": "127.0.0.2.evil.example"},
                    {"host": "localhost.evil.example"}, {"host": "["},
                    {"origin": f"{served.address}.evil.example"}]:  # fmt: skip
        refused = translate(served, picture, headers)
        assert refused.status_code == 403, headers
    own = {"origin": served.address}
    answer = translate(served, picture, own)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert translate(served, picture, {"host": f"localhost:{served.port}"}).status_code == 200
    named = {"host": "diptych.example", "authorization": f"Bearer {KEY}"}
    assert translate(public, picture, named).status_code == 200  # (as a proxy would ask)
    elsewhere = {"origin": "https://evil.example", "authorization": f"Bearer {KEY}"}
    assert translate(public, picture, elsewhere).status_code == 403


@pytest.mark.skipif(sys.platform != "linux", reason="only 127.0.0.1 is there")
def test_every_loopback_address_is_this_machine(trained: Path, tmp_path: Path) -> None:
    with running(tmp_path / "notes", [trained], "--host", "127.0.0.2") as server:
        assert server.address.startswith("http://127.0.0.2:")
        assert server.ask("/v1/models").status_code == 200
        assert server.ask("/v1/models", headers={"host": "evil.example"}).status_code == 403


def raw(server: Server, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """A request whose path nobody tidies up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LONGEST)
    headers = {"content-type": "application/json"} if body else {}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_no_file_of_the_server_can_be_had(served: Server, trained: Path) -> None:
    config = (trained / "config.yaml").read_bytes()[:20]
    targets = ["/etc/passwd", str(trained / "config.yaml"), str(served.notes), "/proc/self/environ"]
    ups = "../" * 12
    for target in targets:
        below = target[1:]
        for path in [
            f"/gradio_api/file={target}", f"/gradio_api/file={ups}{below}",
            f"/gradio_api/file=%2F{below}", f"/gradio_api/file/{target}", f"/file={target}",
            f"/gradio_api/file=file://{target}", f"/gradio_api/file=/dev/shm/{ups}{below}",
            f"/assets/{ups}{below}", f"/assets//{target}", f"/static/{ups}{below}",
            f"/static/{'..%2f' * 12}{below}", f"/svelte/{ups}{below}",
            f"/gradio_api/custom_component/1/client/component/{ups}{below}",
        ]:  # fmt: skip
            status, content = raw(served, "GET", path)
            assert status in (400, 403, 404, 405), path
            assert b"root:" not in content
            assert config not in content
            assert b"PATH=" not in content
    for path in ["/gradio_api/proxy=http://127.0.0.1:1/x", "/gradio_api/file=http://127.0.0.1:1/",
                 "/gradio_api/info", "/gradio_api/openapi.json", "/monitoring", "/logout",
                 "/gradio_api/vibe-code", "/gradio_api/deep_link", "/gradio_api/runs"]:  # fmt: skip
        assert raw(served, "GET", path)[0] == 404
    for path in ["/gradio_api/component_server", "/gradio_api/process_recording",
                 "/gradio_api/run/predict", "/gradio_api/call/predict",
                 "/gradio_api/vibe-edit/"]:  # fmt: skip
        assert raw(served, "POST", path, "{}")[0] == 404
    for name in ["/etc/passwd", "http://127.0.0.1:1/x.png", "file:///etc/passwd", "", 7]:
        file = {"path": name, "url": name, "meta": {"_type": "gradio.FileData"}}
        message = json.dumps({"data": [file], "fn_index": 0, "session_hash": "x"})
        status, content = raw(served, "POST", "/gradio_api/queue/join", message)
        assert status == 403, (name, content)
    assert raw(served, "POST", "/gradio_api/queue/join", "[" * 100_000)[0] == 400
    for address in served.noted("connect"):
        assert "127.0.0.1" in address or "::1" in address or "localhost" in address


def test_a_crowd_is_told_to_wait(public: Server, bearer: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: translate(public, LARGE, bearer), range(8)))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {200, 429}
    assert counts[200] >= 3
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["detail"].startswith("the server is busy: try again in")
    assert translate(public, LARGE, bearer).status_code == 200


async def post(app: ASGIApp, path: str, content: bytes | AsyncIterator[bytes]) -> httpx.Response:
    """To an application in this process, which may raise what it has answered."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.post(f"http://x{path}", content=content)


def test_a_mistake_of_the_server_is_told_in_a_sentence(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(load_models([trained], "cpu", 10**6), Limits(), Metrics())
    monkeypatch.setattr(service, "translate", None)  # (whatever it may be)
    try:
        answer = asyncio.run(post(make_api(service, False), "/v1/translate", LARGE))
    finally:
        assert service.close()
    assert answer.status_code == 500
    assert answer.json() == {"detail": "the server made a mistake: its log says more"}


def test_the_idle_make_room_for_those_who_ask(public: Server) -> None:
    waiting = [
        socket.create_connection(("127.0.0.1", public.port)) for _ in range(MOST_CONNECTIONS + 20)
    ]
    try:
        assert public.ask("/healthz").status_code == 200
        dropped = 0
        for connection in waiting:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                try:
                    dropped += connection.recv(1) == b""
                except ConnectionResetError:
                    dropped += 1
        assert 20 <= dropped < MOST_CONNECTIONS
    finally:
        for connection in waiting:
            connection.close()


def test_bodies_are_limited_as_they_come_and_let_go() -> None:
    """In pieces, without a length at their head."""

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await Response()(scope, receive, send)

    limits = Limits(megabytes=0.001)
    app = LimitedBodies(reading, limits, {"/v1/translate": limits.body_bytes}, "/files")

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(60_000)

    async def status(count: int) -> int:
        return (await post(app, "/v1/translate", pieces(count))).status_code

    assert asyncio.run(status(2)) == 413
    for _ in range(HELD_BODIES + 4):
        assert asyncio.run(status(1)) == 200
    assert app.held == 0

    async def ended(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    stopping = LimitedBodies(ended, limits, {}, "/files")
    answer = asyncio.run(post(stopping, "/v1/translate", b""))
    assert (answer.status_code, answer.json()) == (503, {"detail": "the server is stopping"})
    app.held = HELD_BODIES * limits.body_bytes - 1000  # of others who are under way
    assert asyncio.run(status(1)) == 429


def test_nobody_waits_for_dawdlers(public: Server, bearer: dict[str, str]) -> None:
    head = f"POST /v1/translate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
    slow = [socket.create_connection(("127.0.0.1", public.port)) for _ in range(60)]
    for number, connection in enumerate(slow):
        if number % 3 == 0:
            connection.sendall(head)  # and no end of it
        elif number % 3 == 1:
            connection.sendall(head + b"Content-Type: image/png\r\nContent-Length: 9999\r\n\r\nx")
    small = as_png(Image.new("RGB", (32, 32)))
    for connection in slow[1::3]:
        connection.sendall(b"y")
        assert translate(public, small, bearer).status_code == 200
    for connection in slow:
        connection.settimeout(LONGEST)
    assert b" 408 " in slow[1].recv(1000)  # too slow a body is told so,
    assert slow[0].recv(1000) == b""  # too slow a head, or none, is hung up on
    assert slow[2].recv(1000) == b""
    for connection in slow:
        connection.close()


def test_nobody_waits_for_those_who_hang_up(public: Server, bearer: dict[str, str]) -> None:
    length = f"Content-Type: image/png\r\nContent-Length: {len(LARGE)}\r\n\r\n"
    head = f"POST /v1/translate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{length}"
    for whole in (True, False) * 6:
        with socket.create_connection(("127.0.0.1", public.port)) as connection:
            body = LARGE if whole else LARGE[: len(LARGE) // 2]
            connection.sendall(head.encode() + body)
            time.sleep(0.05)
    wait_until(lambda: public.ask("/healthz").json()["waiting"] == 0)
    assert translate(public, LARGE, bearer).status_code == 200
    counted = public.ask("/metrics", headers=bearer).text
    assert 'path="/v1/translate",status="499"' in counted
    assert 'path="/v1/translate",status="500"' not in counted  # (nothing is wrong with the server)


def test_large_pictures_are_shown_smaller(trained: Path, tmp_path: Path) -> None:
    """What is taken away is whole; what is shown need not fill the page's folder."""
    service = Service(load_models([trained], "cpu", 10**6), Limits(), Metrics())
    (tmp_path / "strip.png").write_bytes(as_png(Image.new("RGB", (2400, 32), "green")))
    actions = Actions(service, PageFolder(tmp_path))
    try:
        upload = {"path": str(tmp_path / "strip.png")}
        shown = asyncio.run(actions.translate(upload, trained.name, "b", None, None))
    finally:
        assert service.close()
    for path, size in (
        (shown.before, (1600, 21)), (shown.after, (1600, 21)), (shown.back, (1600, 21)),
        (shown.result, (2400, 32)),
    ):  # fmt: skip
        assert path is not None
        with Image.open(path) as image:
            assert image.size == size


def test_what_was_translated_is_handed_over_where_the_page_is_nearly_full(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without previews; and uploads that wait to be read make no room."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    service = Service(load_models([trained], "cpu", 10**6), Limits(batch=1), Metrics())
    folder = PageFolder(tmp_path.resolve())
    uploads = [
        {"path": str(folder.write(f"{i}.png", as_png(Image.fromarray(one)))), "orig_name": "x.png"}
        for i, one in enumerate(noise)
    ]
    for upload in uploads:
        os.utime(upload["path"], (0, 0))  # (long since: to be removed first)
    size = sum(Path(upload["path"]).stat().st_size for upload in uploads)
    actions = Actions(service, folder)
    told: list[int] = []

    def several(most: int) -> tuple[list[Path], Path | None, str]:
        monkeypatch.setattr("diptych.web.page_folder.MOST_BYTES", most)
        work = actions.translate_several(uploads, trained.name, "b", None, None, told.append)
        return asyncio.run(work)

    too_many = (MOST_AT_ONCE + 1) * uploads[:1]
    with pytest.raises(RefusedError, match="201 pictures are too many"):
        asyncio.run(actions.translate_several(too_many, trained.name, "b", None, None, told.append))

    monkeypatch.setattr("diptych.web.page_folder.KEPT_SECONDS", 10**10)
    try:
        previews, packed, line = several(size + 90_000)
        assert (line[:10], len(previews) < 6) == ("6 pictures", True)
        assert packed is not None
        with ZipFile(packed) as archive:
            assert len(archive.namelist()) == 6
        packed.unlink()
        for preview in previews:
            preview.unlink()
        _, packed, line = several(size + 40_000)
        assert "left out. x.png: the page holds too many pictures" in line
        assert packed is not None
        with ZipFile(packed) as archive:
            assert 1 <= len(archive.namelist()) < 6
        assert told == [*range(1, 7)] * 2
        assert folder.coming == 0
    finally:
        assert service.close()


def test_servers_of_one_machine_leave_each_others_visitors_in(tmp_path: Path) -> None:
    """Cookies know no ports."""
    one, other = (Guard(FastAPI(), KEY, PageFolder(tmp_path)) for _ in range(2))
    cookies = "; ".join(f"{guard.cookie}={guard.session}" for guard in (one, other))
    for guard in (one, other):
        assert guard._has_key(
            HTTPConnection({"type": "http", "headers": [(b"cookie", cookies.encode())]})
        )


def test_nobody_without_the_key_takes_room(public: Server, bearer: dict[str, str]) -> None:
    for path in ("/login", "/v1/translate", "/gradio_api/upload"):
        refused = httpx.post(f"{public.address}{path}", content=bytes(5000), timeout=LONGEST)
        assert refused.status_code == (413 if path == "/login" else 401)
    pieces = httpx.post(f"{public.address}/login", content=iter([bytes(3000)] * 3))
    assert pieces.status_code == 413


def test_a_served_model_sees_no_more_than_the_server_allows(tmp_path: Path) -> None:
    """Four times its size would be too many pixels for the network: it sees as many as may be."""
    generator = GeneratorConfig(width=4, blocks=0, halvings=1, output="retouch")
    info = ModelInfo(generator, RGB, RGB, 320, "resize-crop", "white", 0)
    G = make_generator(generator, 3, 3)
    save_model(tmp_path / "large.safetensors", GeneratorPair(G, None, info))
    assert load(tmp_path / "large.safetensors", "cpu").sees == 1280
    limits = Limits()
    models = load_models([tmp_path / "large.safetensors"], "cpu", limits.network_pixels)
    translator = models["large"].translator
    for shape in ((3024, 4032), (1080, 1920), (2160, 3840)):
        assert math.prod(translator.taken(*shape)) <= limits.network_pixels
    assert translator.taken(3024, 4032)[0] > 1000
    save_model(tmp_path / "small.safetensors", GeneratorPair(G, None, replace(info, size=192)))
    seen = load_models([tmp_path / "small.safetensors"], "cpu", 10**6)["small"].translator
    assert math.prod(seen.taken(1080, 1920)) <= 10**6 < 1.01 * math.prod(seen.taken(1080, 1920))


def test_limits_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "serve.md").read_text("utf-8")
    told = re.findall(r"^\| `--([\w-]+)` \| (\d+) \|", page, re.MULTILINE)
    assert {name.replace("-", "_"): float(value) for name, value in told} == vars(Limits())


def test_every_limit_arrives(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Limits] = []

    def note(models: object, limits: Limits, metrics: object) -> None:
        seen.append(limits)
        raise DiptychError("seen")

    monkeypatch.setattr("diptych.web.service.Service", note)
    values = dict(zip(vars(Limits()), range(1, 9), strict=True))
    with pytest.raises(DiptychError, match="seen"):
        ui([trained], device="cpu", **values)  # type: ignore[arg-type]
    assert vars(seen[0]) == values


def test_the_time_to_wait_follows_the_pictures() -> None:
    service = Service({}, Limits(), Metrics())
    try:
        for _ in range(50):
            service._watch(8, 16.0)  # two seconds each
        service.waiting = 10
        assert service.busy().retry_after == 20
    finally:
        assert service.close()


def test_the_network_is_told_that_nobody_waits_any_more(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, limits = load_models([trained], "cpu", 10**6), Limits(answer_seconds=2)
    service, orders = Service(models, limits, Metrics()), list[Order]()

    def begin(order: Order) -> Future[Translated]:  # and never end
        orders.append(order)
        assert order.done.set_running_or_notify_cancel()
        return order.done

    monkeypatch.setattr(service.worker, "submit", begin)
    picture = as_png(Image.new("RGB", (32, 32)))
    try:
        with pytest.raises(RefusedError, match="translating took too long"):
            asyncio.run(service.translate(picture, service.model(None), "b", None))
    finally:
        assert service.close()
    assert [order.given_up for order in orders] == [True]


def test_runs_of_one_name_are_told_apart(trained: Path, tmp_path: Path) -> None:
    for place in ("one", "two", "three"):
        shutil.copytree(trained, tmp_path / place / "tiny")
    runs = [tmp_path / place / "tiny" for place in ("one", "two", "three")]
    assert list(load_models(runs, "cpu", 10**6)) == ["tiny", "tiny-2", "tiny-3"]


def test_domains_are_called_as_their_folders(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    data = json.loads((run / "data.json").read_text())
    data["folders"] |= {"a": str(tmp_path / "horse"), "b": str(tmp_path / "zebra")}
    (run / "data.json").write_text(json.dumps(data))
    assert load_models([run], "cpu", 10**6)["run"].domains == {"a": "horse", "b": "zebra"}


def test_a_server_has_a_strength_and_models_a_background(tmp_path: Path) -> None:
    pair = load_model(saved(tmp_path / "retouch.safetensors", RETOUCH), torch.device("cpu"))
    save_model(tmp_path / "x.safetensors", replace(pair, info=replace(pair.info, background="red")))
    models = load_models([tmp_path / "x.safetensors"], "cpu", 10**6, strength=0.0)
    service = Service(models, Limits(), Metrics())
    clear = as_png(Image.new("RGBA", (32, 32), (9, 9, 9, 0)))
    try:
        made = asyncio.run(service.translate(clear, models["x"], "b", None)).made
    finally:
        assert service.close()
    assert (made.picture == (255, 0, 0)).all()
    assert (made.fake == made.picture).all()


def test_options_of_the_form_count_more_than_those_of_the_address(trained: Path) -> None:
    service = Service(load_models([trained], "cpu", 10**6), Limits(), Metrics())
    api = make_api(service, key_needed=False)
    picture = as_png(Image.new("RGB", (32, 32), "green"))

    async def translate() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api)) as client:
            return await client.post(
                "http://x/v1/translate", params={"format": "png", "size": "16"},
                files={"picture": ("x.png", picture)},
                data={"format": "jpg", "to": "a", "model": "tiny", "strength": "1", "size": "17"},
            )  # fmt: skip

    try:
        answer = asyncio.run(translate())
    finally:
        assert service.close()
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("JPEG", (17, 17))


def test_forms_are_in_one_encoding(public: Server, bearer: dict[str, str]) -> None:
    """What a stranger could name takes minutes to decode, for everybody."""
    endless = b"-" + 200_000 * b"b"
    for charset in ("punycode", "unicode_escape", "utf-7", "no-such"):
        kind = {"content-type": f"multipart/form-data; charset={charset}; boundary=xx"}
        part = b'--xx\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n--xx--\r\n'
        login = httpx.post(
            f"{public.address}/login",
            content=part % (b"key", endless),
            headers=kind,
            timeout=LONGEST,
        )
        assert login.status_code == 413
        answer = httpx.post(
            f"{public.address}/v1/translate", content=part % (b"format", endless),
            headers={**kind, **bearer}, timeout=LONGEST,
        )  # fmt: skip
        assert answer.status_code == 422, answer.text
        upload = httpx.post(
            f"{public.address}/gradio_api/upload",
            content=part % (b'files"; filename="x.png', endless),
            headers={**kind, **bearer}, timeout=LONGEST,
        )  # fmt: skip
        assert upload.status_code == 200
    broken = {"content-type": "multipart/form-data; boundary=a\tb", **bearer}
    assert translate(public, LARGE, broken).status_code == 400
    odd = httpx.post(f"{public.address}/login", content=b"key=%ED%A0%80", headers={})
    assert (odd.status_code, odd.headers["location"]) == (303, "login?wrong=1")


def test_nobody_is_enlarged_without_end(tmp_path: Path) -> None:
    """A model that sees from afar is shown little of a large picture, and paints all of it."""
    torch.manual_seed(0)
    generator = GeneratorConfig(width=4, blocks=1, output="retouch")
    networks = [make_generator(generator, 3, 3) for _ in range(2)]
    info = ModelInfo(generator, RGB, RGB, 32, "crop", "white", 0)
    save_model(tmp_path / "retouch.safetensors", GeneratorPair(*networks, info))
    models = load_models([tmp_path / "retouch.safetensors"], "cpu", 10**6)
    service = Service(models, Limits(megapixels=0.01), Metrics())
    model, picture = service.model(None), as_png(Image.new("RGB", (50, 100)))
    try:
        with pytest.raises(RefusedError, match="at size=500 the picture would be more") as refused:
            asyncio.run(service.translate(picture, model, "b", 500))
        assert refused.value.status == 413
        made = asyncio.run(service.translate(picture, model, "b", 70)).made
        assert made.fake.shape == (140, 70, 3)
    finally:
        assert service.close()


def test_an_answer_that_nobody_reads_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stay in memory for as long as the client likes."""
    monkeypatch.setattr("diptych.web.server.HEADER_SECONDS", 0.2)
    content = bytes(50_000_000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(content)(scope, receive, send)

    async def left_after(
        read: Callable[[asyncio.StreamReader], Awaitable[int]], limits: Limits
    ) -> int:
        config = uvicorn.Config(app, lifespan="off")
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: PatientOnce(config, state, {}, limits=limits), "127.0.0.1", 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
            writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await writer.drain()
            count = await read(reader)
            for _ in range(100):
                await asyncio.sleep(0.1)
                if not state.connections:
                    break
            writer.close()
            assert not state.connections
            return count

    async def nothing(reader: asyncio.StreamReader) -> int:
        return 0

    async def slowly(reader: asyncio.StreamReader, size: int, pause: float) -> int:
        count = 0
        while chunk := await reader.read(size):
            count += len(chunk)
            await asyncio.sleep(pause)
        return count

    steadily = partial(slowly, size=5_000_000, pause=0.001)
    by_drops = partial(slowly, size=20_000, pause=0.01)
    assert asyncio.run(left_after(nothing, Limits())) == 0
    assert asyncio.run(left_after(steadily, Limits())) > len(content)
    hurried = Limits(upload_seconds=0.5)  # (2.5 times as much for as many bytes as 2.5 pictures)
    with suppress(ConnectionResetError):
        assert asyncio.run(left_after(by_drops, hurried)) < len(content) / 2


def test_names_that_no_page_can_show() -> None:
    with page_folder() as folder:
        kept = folder.keep("caf\udce9.png", b"x")
        assert kept.name == "caf?.png"
        long = stem_of({"path": "/x", "orig_name": 90 * "\U00020000" + ".png"})
        assert len(folder.write(f"{long}-after.png", b"x").name) > 40
        assert len(shortened(300 * "x")) == 200
        there = len(list(folder.path.iterdir()))
        with pytest.raises(RefusedError, match="no room for the picture: File name too long"):
            folder.write(300 * "x", b"")
        assert len(list(folder.path.iterdir())) == there
    assert free_name("IMG.png", {"img.png": b"", "img-2.png": b""}) == "IMG-3.png"


async def status_of(app: Guard, scope: Scope, length: int) -> int:
    """What a request to this machine, with a body of so many bytes, is answered with."""
    headers = [(b"host", b"localhost"), (b"content-length", str(length).encode())]
    found: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request", "body": bytes(length), "more_body": False}

    whole = {"query_string": b"", "root_path": "", "scheme": "http", "headers": headers, **scope}
    await app(whole, receive, send)
    return found[0]


def test_what_is_too_old_goes_also_when_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.web.page_folder.TIDIED_EVERY", 0.05)
    with page_folder() as folder:
        old, new = (folder.write(f"{name}.png", b"x") for name in ("old", "new"))
        os.utime(old, (time.time() - 3700,) * 2)
        ends = time.monotonic() + LONGEST
        while old.exists() and time.monotonic() < ends:
            time.sleep(0.01)
        assert [old.exists(), new.exists()] == [False, True]
    assert not new.exists()


def test_the_oldest_files_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.web.page_folder.MOST_BYTES", 1000)
    folder = PageFolder(tmp_path)
    now = time.time()
    kept = folder.keep("example.png", bytes(300))
    ages = {name: folder.write(f"{name}.png", bytes(200)) for name in ("new", "mid", "old", "past")}
    for path, age in zip(ages.values(), (0, 100, 200, 3700), strict=True):
        os.utime(path, (now - age, now - age))
    folder.make_room(0)
    assert [path.exists() for path in ages.values()] == [True, True, True, False]
    folder.make_room(200)
    assert [path.exists() for path in ages.values()] == [True, True, False, False]
    assert len(list(tmp_path.iterdir())) == 3  # folders of what was removed are gone as well
    with pytest.raises(RefusedError, match="too many pictures") as refused:
        folder.make_room(600)
    assert refused.value.status == 429
    upload = {"type": "http", "method": "POST", "path": "/gradio_api/upload"}
    assert asyncio.run(status_of(Guard(FastAPI(), None, folder), upload, 600)) == 429
    with folder.room_for(300):  # (one upload under way)
        assert asyncio.run(status_of(Guard(FastAPI(), None, folder), upload, 300)) == 429
    assert asyncio.run(status_of(Guard(FastAPI(), None, folder), upload, 300)) == 404
    assert folder.coming == 0
    assert kept.exists()
    assert ages["new"].exists()  # a browser may be fetching it
    monkeypatch.setattr("diptych.web.page_folder.time.time", lambda: now + 3700)
    folder.make_room(0)
    assert not ages["new"].exists()
    assert kept.exists()  # for as long as the server runs


def test_a_killed_server_leaves_no_pictures_for_long() -> None:
    program = """
import time
from diptych.web.page_folder import PageFolder, page_folder
with page_folder() as folder:
    print(folder.write("mine.png", b"pixels"), flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        kept = Path(process.stdout.readline().strip())
        outer = kept.parents[2]
        os.utime(outer, (0, 0))
        with page_folder():
            assert kept.exists()  # its owner lives
        process.kill()
        process.wait()
        assert kept.exists()
    os.utime(outer, (0, 0))
    with page_folder() as other:
        assert not outer.exists()
        assert other.path.exists()
    assert not other.path.parent.exists()


def test_large_pictures_wait_outside(trained: Path, tmp_path: Path) -> None:
    """What waits for the network is bounded in pixels too; one alone is always let in."""
    with running(tmp_path / "notes", [trained], "--waiting-megapixels", "1") as server:
        assert server.translate(LARGE).status_code == 200
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: server.translate(LARGE), range(4)))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert server.translate(LARGE).status_code == 200


def test_the_end_does_not_wait_for_a_picture_that_nobody_wants(
    trained: Path, tmp_path: Path
) -> None:
    huge = as_png(Image.new("RGB", (7000, 6000)))
    options = ["--network-megapixels", "50", "--answer-seconds", "3"]
    with running(tmp_path / "notes", [trained], *options) as server:
        assert server.translate(huge).status_code in (503, 504)
        assert server.stop() == 0
        assert server.process.stderr is not None
        assert server.process.stderr.read() == ""


def test_a_closed_terminal_ends_it_without_a_traceback(trained: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # (nohup lets what it starts ignore it)
    with running(tmp_path / "notes", [trained]) as server:
        signal.signal(signal.SIGHUP, before)
        server.process.send_signal(signal.SIGHUP)
        said, complaints = server.process.communicate(timeout=LONGEST)
        assert server.process.returncode == 0
        assert (said.splitlines()[-1], complaints) == ("stopped", "")


def test_sigterm_answers_what_is_under_way(public: Server, bearer: dict[str, str]) -> None:
    """(The last test of this server.)"""
    files = {"files": ("mine.png", as_png(Image.new("RGB", (32, 32))))}
    upload = httpx.post(f"{public.address}/gradio_api/upload", files=files, headers=bearer)
    (kept,) = upload.json()
    assert Path(kept).is_file()
    assert public.ask(f"/gradio_api/file={kept}", headers=bearer).content == files["files"][1]
    answers: list[httpx.Response] = []
    asking = [
        threading.Thread(target=lambda: answers.append(translate(public, LARGE, bearer)))
        for _ in range(2)
    ]
    for thread in asking:
        thread.start()
    wait_until(lambda: public.ask("/healthz").json()["waiting"] == 2)
    public.process.send_signal(signal.SIGTERM)

    def takes_nothing_new() -> bool:
        try:
            public.ask("/healthz")
        except httpx.TransportError:
            return True
        return False

    wait_until(takes_nothing_new)
    for thread in asking:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert public.process.wait(timeout=LONGEST) == 0
    assert public.process.stdout is not None
    assert public.process.stdout.read() == "stopped\n"
    assert not Path(kept).parents[2].exists()
