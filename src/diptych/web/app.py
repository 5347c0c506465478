"""API and page under one roof, behind the guard."""

from __future__ import annotations

import os

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from diptych.templates import template
from diptych.web.api import make_api
from diptych.web.bodies import LimitedBodies
from diptych.web.forms import typed_key
from diptych.web.guard import API, JOIN, MOST_LOGIN, MOST_MESSAGE, UPLOAD, Guard, with_headers
from diptych.web.metrics import Measured
from diptych.web.page_folder import MOST_BYTES, PageFolder
from diptych.web.service import Service


def make_app(service: Service, folder: PageFolder, key: str | None) -> ASGIApp:
    """The whole application. ``key`` is what clients must know; None for this machine alone."""
    api = make_api(service, key is not None)
    guard = Guard(api, key, folder)

    @api.get("/login", include_in_schema=False)
    async def ask(wrong: bool = False) -> HTMLResponse:
        return HTMLResponse(template("web/login.html.j2").render(wrong=wrong))

    @api.post("/login", include_in_schema=False)
    async def log_in(request: Request) -> Response:
        if not await guard.log_in(await typed_key(request)):
            return RedirectResponse("login?wrong=1", 303)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            guard.cookie, guard.session, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    _mount_page(api, service, folder)
    most = {
        "/v1/translate": service.limits.body_bytes, UPLOAD: MOST_BYTES // 2, JOIN: MOST_MESSAGE,
        "/login": MOST_LOGIN,
    }  # fmt: skip
    bodies = LimitedBodies(guard, service.limits, most, to_files=UPLOAD)
    return with_headers(Measured(bodies, service.metrics, API))


def _mount_page(api: FastAPI, service: Service, folder: PageFolder) -> None:
    # Gradio reads these when it is imported and when its parts are made. It is not to call home.
    os.environ["GRADIO_TEMP_DIR"] = str(folder.path)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gradio as gr

    from diptych.web.page import CSS, FAVICON, make_page, make_theme
    from diptych.web.page_actions import Actions

    gr.mount_gradio_app(
        api, make_page(Actions(service, folder)), path="/", theme=make_theme(), css=CSS,
        favicon_path=str(FAVICON), footer_links=[], run_history=False, ssr_mode=False,
        mcp_server=False, pwa=False, enable_monitoring=False, show_error=False,
        max_file_size=service.limits.picture_bytes,
    )  # fmt: skip
