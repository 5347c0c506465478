"""Line charts as inline SVG: the page needs neither network nor a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 460, 222
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 28, 38
MOST_POINTS = 150  # per line; longer series are averaged in groups
FLAT = 1e-9  # values that differ by a smaller share are drawn as one

Values = Sequence[float]


def line_chart(
    title: str, x: Values, lines: Mapping[str, Values], bands: Sequence[tuple[Values, Values]] = ()
) -> str:
    """An ``<svg>`` of one or two named lines over the same steps ``x`` (at least one point).

    ``bands``: lower and upper bounds of the lines, in their order, where there are such.
    """
    x, lines = _thinned(x), {name: _thinned(line) for name, line in lines.items()}
    bands = [(_thinned(lower), _thinned(upper)) for lower, upper in bands]
    values = [v for line in (*lines.values(), *(v for band in bands for v in band)) for v in line]
    ticks = _ticks(*_shown(min(values), max(values)))
    low, high = ticks[0], ticks[-1]
    span_x = (x[-1] - x[0]) or 1.0

    def px(v: float) -> float:
        return round(LEFT + (v - x[0]) / span_x * (WIDTH - LEFT - RIGHT), 1)

    def py(v: float) -> float:
        return round(HEIGHT - BOTTOM - (v - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def points(x: Values, y: Values) -> str:
        return " ".join(f"{px(a)},{py(b)}" for a, b in zip(x, y, strict=True))

    middle = (LEFT + WIDTH - RIGHT) / 2
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text x="{LEFT}" y="16" class="title">{escape(title)}</text>',
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">steps</text>',
    ]
    for tick in ticks:
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(tick)}" y2="{py(tick)}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{py(tick) + 4}" text-anchor="end">{tick:g}</text>'
        )
    for tick in _ticks(x[0], x[-1]) if x[-1] > x[0] else x[:1]:
        if x[0] <= tick <= x[-1]:
            parts.append(
                f'<text x="{px(tick)}" y="{HEIGHT - 22}" text-anchor="middle">{_short(tick)}</text>'
            )
    for number, (lower, upper) in enumerate(bands):
        outline = f"{points(x, upper)} {points(x[::-1], lower[::-1])}"
        parts.append(f'<polygon points="{outline}" class="line-{number}"/>')
    for number, (name, line) in enumerate(lines.items()):
        kind = f'class="line-{number}"'  # (in style.html.j2: a colour, and dashes)
        parts.append(f'<polyline points="{points(x, line)}" {kind}/>')
        if len(line) == 1:
            parts.append(f'<circle cx="{px(x[0])}" cy="{py(line[0])}" r="3" {kind}/>')
        right = WIDTH - RIGHT - 70 * (len(lines) - number - 1)
        left = right - 7 * len(name)  # (about its width)
        parts.append(
            f'<polyline points="{left - 22},12 {left - 4},12" {kind}/>'
            f'<text x="{right}" y="16" text-anchor="end" class="name">{escape(name)}</text>'
        )
    return "".join(parts) + "</svg>"


def _thinned(values: Values) -> list[float]:
    size = -(-len(values) // MOST_POINTS)
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    return [math.fsum(group) / len(group) for group in groups]


def _shown(low: float, high: float) -> tuple[float, float]:
    """The part of the axis to show: from 0 on, unless values are far from it and differ little."""
    if high - low <= FLAT * max(abs(low), abs(high)):
        return (min(0.0, low), max(0.0, high)) if low else (0.0, 1.0)
    return (min(0.0, low) if low < 0.5 * high else low), high


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers, from the last one below ``low`` to the first above ``high``."""
    raw = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (10, 5, 2, 1) if m * power <= raw * (1 + FLAT))
    first, last = math.floor(low / step + FLAT), math.ceil(high / step - FLAT)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def _short(number: float) -> str:
    return f"{number / 1000:g}k" if number >= 10_000 else f"{number:g}"
