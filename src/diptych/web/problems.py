"""What the API answers where there is no picture: a status, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from diptych.web.guard import refuse
from diptych.web.limits import MOST_SAID, RefusedError
from diptych.web.metrics import GONE
from diptych.words import within


class Problem(BaseModel):
    """Why there is no picture."""

    detail: str = Field(description="One sentence.")


Problems = dict[int | str, dict[str, Any]]
PROBLEMS: Problems = {
    status: {"model": Problem, "description": sentence}
    for status, sentence in {
        400: "The form is broken or cut short.",
        401: "The server has a key, and it was not given.",
        403: "A page of another site asked.",
        408: "The request came too slowly.",
        413: "The picture has too many bytes or pixels.",
        415: "The content type is no picture.",
        422: "There is no picture, it is damaged, or the model cannot take it or the options.",
        429: "Too many pictures in line: try again after Retry-After seconds.",
        500: "A mistake of the server.",
        503: "No time or memory for it, or the server is stopping.",
        504: "The network took too long.",
    }.items()
}
GUARDED: Problems = {status: PROBLEMS[status] for status in (401, 403)}


def answer_errors(api: FastAPI, options: Sequence[str]) -> None:
    """Errors are told in JSON, in one sentence; ``options`` are those of a translation."""

    @api.exception_handler(RefusedError)
    async def refused(request: Request, refusal: RefusedError) -> JSONResponse:
        return refuse(refusal)

    @api.exception_handler(RequestValidationError)
    @api.exception_handler(ValidationError)
    async def invalid(
        request: Request, error: RequestValidationError | ValidationError
    ) -> JSONResponse:
        return refuse(RefusedError(422, one_sentence(error, options)))

    @api.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)

    @api.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return refuse(RefusedError(500, "the server made a mistake: its log says more"))

    @api.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)


def one_sentence(error: RequestValidationError | ValidationError, options: Sequence[str]) -> str:
    """What is wrong with the first option that is."""
    first = error.errors()[0]
    option = next((str(part) for part in first["loc"] if part != "query"), "request")
    if first["type"] == "extra_forbidden":
        return f"there is no option {option[:MOST_SAID]!r}: there are {', '.join(options)}"
    message = str(first["msg"])
    return f"{option}: {within(message)}"
