"""The page that shows the API to people; it needs no script and nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from diptych.report.page import template


def docs_page(schema: dict[str, Any], address: str, key_needed: bool) -> str:
    """The OpenAPI ``schema`` as HTML, with examples for the server at ``address``."""
    return template("docs.html.j2", "web").render(
        schema=schema, address=address, key_needed=key_needed
    )


def login_page(wrong: bool) -> str:
    """The form that asks for the key."""
    return template("login.html.j2", "web").render(wrong=wrong)
