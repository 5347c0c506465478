"""Line charts as inline SVG: the page needs neither network nor a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 460, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 28, 26
COLOURS = 4  # of lines, in style.html.j2
MOST_POINTS = 150  # per line; longer series are averaged in groups


def line_chart(title: str, x: Sequence[float], lines: Mapping[str, Sequence[float]]) -> str:
    """An ``<svg>`` of one or more named lines over the same ``x`` (at least one point)."""
    x, lines = _thin(x, lines)
    values = [v for line in lines.values() for v in line]
    low, high = min(values), max(values)
    low = min(0.0, low) if low < 0.5 * high else low
    if low == high:
        low, high = low - 0.5, high + 0.5
    span_x = (x[-1] - x[0]) or 1.0

    def px(v: float) -> float:
        return round(LEFT + (v - x[0]) / span_x * (WIDTH - LEFT - RIGHT), 1)

    def py(v: float) -> float:
        return round(HEIGHT - BOTTOM - (v - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text x="{LEFT}" y="16" class="title">{escape(title)}</text>',
    ]
    for tick in _ticks(low, high):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(tick)}" y2="{py(tick)}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{py(tick) + 4}" text-anchor="end">{tick:g}</text>'
        )
    for tick in _ticks(x[0], x[-1]):
        parts.append(
            f'<text x="{px(tick)}" y="{HEIGHT - 8}" text-anchor="middle">{_short(tick)}</text>'
        )
    for number, (name, line) in enumerate(lines.items()):
        colour = f"var(--line-{number % COLOURS})"
        points = " ".join(f"{px(a)},{py(b)}" for a, b in zip(x, line, strict=True))
        parts.append(f'<polyline points="{points}" style="stroke: {colour}"/>')
        if len(line) == 1:
            parts.append(
                f'<circle cx="{px(x[0])}" cy="{py(line[0])}" r="3" style="fill: {colour}"/>'
            )
        parts.append(
            f'<text x="{WIDTH - RIGHT - 46 * (len(lines) - number - 1)}" y="16" '
            f'text-anchor="end" style="fill: {colour}" class="name">{escape(name)}</text>'
        )
    return "".join(parts) + "</svg>"


def _thin(
    x: Sequence[float], lines: Mapping[str, Sequence[float]]
) -> tuple[list[float], dict[str, list[float]]]:
    size = -(-len(x) // MOST_POINTS)

    def means(values: Sequence[float]) -> list[float]:
        groups = [values[i : i + size] for i in range(0, len(values), size)]
        return [sum(group) / len(group) for group in groups]

    return means(x), {name: means(line) for name, line in lines.items()}


def _ticks(low: float, high: float) -> list[float]:
    """About four round numbers between ``low`` and ``high``."""
    raw = (high - low) / 4 or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _short(number: float) -> str:
    return f"{number / 1000:g}k" if number >= 10_000 else f"{number:g}"
