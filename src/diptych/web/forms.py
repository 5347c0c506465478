"""Forms, read as UTF-8 whatever they claim: some codecs that a form could name take minutes."""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import parse_qs

from fastapi import Request
from starlette.types import Scope

from diptych.web.limits import RefusedError

BOUNDARY = re.compile(r"[\w'()+,./:=? -]{1,70}", re.ASCII)  # RFC 2046, section 5.1.1
TYPE = b"content-type"


def with_boundary_alone(scope: Scope) -> Scope:
    """The request, whose multipart content type, if it is such, says where parts end, and no more.

    Raises RefusedError if that is missing or cannot be.
    """
    kinds = [value for name, value in scope["headers"] if name == TYPE]
    if not any(kind.strip().lower().startswith(b"multipart/") for kind in kinds):
        return scope
    message = Message()
    message["content-type"] = kinds[0].decode("latin-1")
    boundary = message.get_param("boundary")
    if len(kinds) > 1 or not isinstance(boundary, str) or not BOUNDARY.fullmatch(boundary):
        raise RefusedError(400, "the form is broken: it does not say where its parts end")
    kind = f'{message.get_content_type()}; boundary="{boundary}"'.encode()
    others = [(name, value) for name, value in scope["headers"] if name != TYPE]
    return {**scope, "headers": [*others, (TYPE, kind)]}


async def typed_key(request: Request) -> str:
    """The key in the login page's form. Raises RefusedError for what is no such form."""
    try:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=1)
    except ValueError as error:
        raise RefusedError(400, "the form is broken") from error
    return fields.get("key", [""])[0]
