"""Point the documentation's links at the right lines: python docs/link_lines.py [--check].

A link such as [`ResidualBlock`](../src/diptych/networks/blocks.py#L54) names a function or class
(or Class.method) of that file; this sets the line number, or with --check says which are wrong.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

LINK = re.compile(r"\[`([\w.]+)`\]\((\.\./[\w/.]+\.py)#L(\d+)\)")
FOLDER = Path(__file__).parent


def line_of(name: str, source: Path) -> int:
    """The line where the dotted ``name`` is defined. Raises KeyError if it is not."""
    node: ast.AST = ast.parse(source.read_text(encoding="utf-8"))
    for part in name.split("."):
        inside = {
            child.name: child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.ClassDef | ast.FunctionDef)
        }
        node = inside[part]
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return node.lineno


def main() -> int:
    check = "--check" in sys.argv
    wrong = False
    for page in sorted(FOLDER.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        right = LINK.sub(corrected, text)
        if right == text:
            continue
        wrong = True
        if check:
            print(f"{page.name} links to wrong lines: run python docs/link_lines.py")
        else:
            page.write_text(right, encoding="utf-8")
    return int(check and wrong)


def corrected(link: re.Match[str]) -> str:
    """The link with the line where its name is defined."""
    name, path, _ = link.groups()
    return f"[`{name}`]({path}#L{line_of(name, FOLDER / path)})"


if __name__ == "__main__":
    sys.exit(main())
