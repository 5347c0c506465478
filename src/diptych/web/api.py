"""The HTTP API: a picture in, a picture out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect

from diptych.data.pixels import DType, PixelFormat
from diptych.sides import Side
from diptych.templates import template
from diptych.translation.strength import STRONGEST
from diptych.translation.writing import FileFormat, format_of
from diptych.version import __version__
from diptych.web.bodies import read_picture_and_fields
from diptych.web.limits import RefusedError
from diptych.web.models import ServedModel
from diptych.web.problems import GUARDED, PROBLEMS, answer_errors
from diptych.web.service import Service, format_for

MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "tif": "image/tiff",
    "bmp": "image/bmp",
    "npy": "application/octet-stream",
}
Strength = Annotated[float, Field(ge=0, le=STRONGEST, allow_inf_nan=False)]
T = TypeVar("T")


class Options(BaseModel):
    """What to make of a picture; in the address, or as fields of the form."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_ones(cls, given: Any) -> Any:
        """Programs, and the forms of pages, send what nobody filled in."""
        return {k: v for k, v in given.items() if v != ""} if isinstance(given, dict) else given

    to: Side = Field("b", description="Domain to translate to.")
    model: str | SkipJsonSchema[None] = Field(
        None, description="Name of a model, as /v1/models lists them. Default: the first."
    )
    size: Annotated[int, Field(ge=1, le=65_535)] | SkipJsonSchema[None] = Field(
        None, description="First scale the shorter side to this many pixels."
    )
    strength: Strength | SkipJsonSchema[None] = Field(
        None, description="How many times as much as it has learned to a model that retouches "
        "changes the picture. Default: as the server was started with, mostly 1.",
    )  # fmt: skip
    format: Annotated[FileFormat, BeforeValidator(format_of)] | SkipJsonSchema[None] = Field(
        None, description="Of the answer. Default: png, or tif where png cannot hold the values."
    )


class Values(BaseModel):
    """How pictures of a domain are stored."""

    name: str
    channels: int
    dtype: DType
    low: float | tuple[float, ...] = Field(description="Of all channels, or one of each.")
    high: float | tuple[float, ...]


class Model(BaseModel):
    """A model that this server offers."""

    name: str
    to: list[Side] = Field(description="Domains that it can translate to.")
    a: Values
    b: Values
    size: int = Field(description="Pixels a side of the pictures it was trained on.")
    retouches: bool = Field(description="Whether it changes pictures, more or less by strength.")
    strength: float = Field(description="How much, unless another strength is asked for.")
    steps: int


class Alive(BaseModel):
    """The server is there."""

    status: Literal["ok"] = "ok"
    waiting: int = Field(description="Pictures in line.")


PICTURE = {"type": "string", "format": "binary"}
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/tiff", "application/octet-stream")


def _request_body(models: list[str]) -> dict[str, Any]:
    """What /v1/translate takes, as OpenAPI says it."""
    options = Options.model_json_schema()["properties"]
    options["model"]["enum"] = models
    form = {
        "type": "object",
        "required": ["picture"],
        "properties": {"picture": {**PICTURE, "description": "A picture file."}, **options},
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": form}}
    content.update({kind: {"schema": dict(PICTURE)} for kind in PICTURE_TYPES})
    return {"required": True, "content": content}


def make_api(service: Service, key_needed: bool) -> FastAPI:
    """The routes of the API, and its description under ``/openapi.json`` and ``/docs``."""
    api = FastAPI(
        title="diptych",
        version=__version__,
        description="Translates pictures between two domains with trained models.",
        docs_url=None,  # (it would load its scripts from elsewhere)
        redoc_url=None,
    )

    @api.post(
        "/v1/translate",
        summary="Translate a picture",
        response_class=Response,
        responses={
            200: {
                "description": "The translation.",
                "content": {kind: {"schema": PICTURE} for kind in MEDIA_TYPES.values()},
            },
            **PROBLEMS,
        },
        openapi_extra={"requestBody": _request_body(list(service.models))},
    )
    async def translate(request: Request, options: Annotated[Options, Query()]) -> Response:
        """Send a picture as the body, or a form with a file called picture and the options as
        further fields. JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC and .npy are read."""
        started = time.perf_counter()
        _check_once(request.query_params)
        service.model(options.model)  # (no nonsense in the address, even if the form says better)
        data, fields = await read_picture_and_fields(request)
        service.limits.check_sent(len(data))
        if fields:
            options = Options.model_validate({**options.model_dump(exclude_unset=True), **fields})
        model = service.model(options.model)
        _, target = model.translator.formats(options.to)
        name = format_for(options.format, target)

        async def translated() -> bytes:
            answer = await service.translate(
                data, model, options.to, options.size, options.strength
            )
            return await service.encode(answer.made.fake, name, answer.extras)

        picture = await while_there(request, translated())
        took = 1000 * (time.perf_counter() - started)
        return Response(
            picture,
            media_type=MEDIA_TYPES[name],
            headers={"server-timing": f"total;dur={took:.0f}"},
        )

    @api.get("/v1/models", summary="The models that are offered", responses=GUARDED)
    async def models() -> list[Model]:
        return [_describe(model) for model in service.models.values()]

    @api.get("/healthz", summary="Whether the server is there", responses={403: PROBLEMS[403]})
    async def healthz() -> Alive:
        return Alive(waiting=service.waiting)

    @api.get(
        "/metrics",
        summary="Counters, as Prometheus reads them",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **GUARDED},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @api.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        address = str(request.base_url).rstrip("/")
        page = template("web/docs.html.j2")
        return HTMLResponse(
            page.render(schema=api.openapi(), address=address, key_needed=key_needed)
        )

    answer_errors(api, list(Options.model_fields))
    described = api.openapi()
    for parameter in described["paths"]["/v1/translate"]["post"]["parameters"]:
        if parameter["name"] == "model":
            parameter["schema"]["enum"] = list(service.models)
    api.openapi = lambda: described  # type: ignore[method-assign]
    return api


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is given up when the client hangs up (ClientDisconnect)."""
    doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        doing.cancel()
        gone.cancel()


def _check_once(given: QueryParams) -> None:
    """Raise RefusedError for an option that is given more than once."""
    for name in given:
        if len(given.getlist(name)) > 1:
            raise RefusedError(422, f"{name} is given twice")


def _describe(model: ServedModel) -> Model:
    info = model.translator.info

    def values(side: Side, pixel_format: PixelFormat) -> Values:
        return Values(name=model.domains[side], **vars(pixel_format))

    return Model(
        name=model.name,
        to=list(model.ways),
        a=values("a", info.a),
        b=values("b", info.b),
        size=info.size,
        retouches=model.retouches,
        strength=model.strength,
        steps=info.step,
    )
