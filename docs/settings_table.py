"""Write the table of all settings into settings.md: python docs/settings_table.py [--check].

It is made of the sections' own fields and comments and of the presets; with --check nothing is
written, and it says whether the page is as it should be.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from diptych.config import Config
from diptych.section import Section
from diptych.settings import build_config, preset_names, read_preset

PAGE = Path(__file__).with_name("settings.md")
START = "<!-- by settings_table.py -->\n"
FIELD = re.compile(r"    (\w+): .*? = .*?(?:  # (.*))?")


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    right = text[: text.index(START)] + START + "\n".join(tables())
    if "--check" in sys.argv:
        if text != right:
            print("settings.md is out of date: run python docs/settings_table.py")
        return int(text != right)
    PAGE.write_text(right, encoding="utf-8")
    return 0


def tables() -> Iterator[str]:
    """The page's lines: a table for each section."""
    presets = {name: build_config(read_preset(name)) for name in preset_names()}
    usual = presets.pop("paper")
    for name, field in Config.model_fields.items():
        section = field.annotation
        if name == "b" or not (isinstance(section, type) and issubclass(section, Section)):
            continue
        described = (section.__doc__ or "").replace("``", "`")
        yield f"\n## {name}{', b' if name == 'a' else ''}\n\n{described}\n"
        yield "| setting | default | other presets | |"
        yield "|---|---|---|---|"
        for key, meaning in meanings(section).items():
            default = value_of(usual, name, key)
            others: dict[str, list[str]] = {}
            for preset, config in presets.items():
                if (value := value_of(config, name, key)) != default:
                    others.setdefault(value, []).append(f"`{preset}`")
            differing = "; ".join(f"{', '.join(of)} {value}" for value, of in others.items())
            choices = ", ".join(choices_of(section.model_fields[key].annotation))
            said = ": ".join(filter(None, (meaning, choices)))
            yield f"| `{name}.{key}` | {default} | {differing} | {said} |"
    yield ""


def meanings(section: type[Section]) -> dict[str, str]:
    """What the comments say of each field: above it, or behind it."""
    found, above = {}, ""
    for line in inspect.getsource(section).splitlines():
        if match := FIELD.fullmatch(line):
            found[match[1]] = match[2] or above
            above = ""
        elif line.startswith("    # "):
            above = f"{above} {line[6:]}".strip()
        elif line.startswith("    def "):
            break
    return {key: meaning for key, meaning in found.items() if key in section.model_fields}


def value_of(config: Config, section: str, key: str) -> str:
    """A setting as people write it; a dash for none."""
    value = config.model_dump(mode="json")[section][key]
    if value is None:
        return "–"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def choices_of(annotation: Any) -> Iterator[str]:
    """The words that a field takes."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inside in get_args(annotation):
            yield from choices_of(inside)


if __name__ == "__main__":
    sys.exit(main())
