"""The page that shows the API to people; it needs no script and nothing from elsewhere."""

from __future__ import annotations

from typing import Any

import jinja2


def docs_page(schema: dict[str, Any], address: str, key_needed: bool) -> str:
    """The OpenAPI ``schema`` as HTML, with examples for the server at ``address``."""
    return _template("docs.html.j2").render(schema=schema, address=address, key_needed=key_needed)


def login_page(wrong: bool) -> str:
    """The form that asks for the key."""
    return _template("login.html.j2").render(wrong=wrong)


def _template(name: str) -> jinja2.Template:
    loader = jinja2.PackageLoader("diptych", "web")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
