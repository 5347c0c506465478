"""Pages of HTML, made from the templates that lie beside the code that fills them."""

from __future__ import annotations

import jinja2


def template(name: str) -> jinja2.Template:
    """The page ``folder/page.html.j2`` of diptych, in which all text is escaped.

    What it includes lies in the same folder.
    """
    folder, _, page = name.rpartition("/")
    loader = jinja2.PackageLoader("diptych", folder)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(page)
