"""The results so far as a Markdown table, best first, and a grid of pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from PIL import Image
from tasks import Task

# 97.5 % quantile of Student's t by the number of runs: how wide a 95 % interval of a mean is.
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}


def write_table(task: Task, place: Path, names: Sequence[str], costs: dict[str, float]) -> None:
    """Write ``table.md`` and, of the runs with seed 0, ``pictures.png``."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for path in sorted(place.glob("result-*.json")):
        result = json.loads(path.read_text())
        results.setdefault(result["variant"], []).append(result)
    done = [name for name in results if results[name]]
    sign = -1 if task.higher_is_better else 1
    done.sort(key=lambda name: sign * mean(one[task.scores[0]] for one in results[name]))
    lines = [
        f"| variant | runs | steps | cost of a step | {' | '.join(task.scores)} |",
        f"|---|---:|---:|---:|{'---:|' * len(task.scores)}",
    ]
    for name in done:
        runs = results[name]
        cells = [name, str(len(runs)), f"{runs[0]['steps']}", f"{costs[name]:.2f}"]
        for key in task.scores:
            values = [one[key] for one in runs if key in one]
            cells.append(interval(values) if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    (place / "table.md").write_text("\n".join(lines) + "\n")
    _write_pictures(place, done)


def interval(values: Sequence[float]) -> str:
    """``0.812 ± 0.006``: mean and half the width of its 95 % interval; the mean alone for one."""
    digits = 1 if max(map(abs, values)) > 10 else 4
    text = f"{mean(values):.{digits}f}"
    if len(values) in STUDENT:
        half = STUDENT[len(values)] * stdev(values) / math.sqrt(len(values))
        text += f" ± {half:.{digits}f}"
    return text


def _write_pictures(place: Path, names: Sequence[str]) -> None:
    """The last sample sheets of seed 0, one below the other, in the table's order."""
    sheets = [
        max((place / "runs" / f"{name}-0" / "samples").glob("*.png"), default=None)
        for name in names
    ]
    images = [Image.open(sheet) for sheet in sheets if sheet is not None]
    if not images:
        return
    rows = [image.crop((0, 0, image.width, image.height // 3)) for image in images]
    grid = Image.new("RGB", (max(r.width for r in rows), sum(r.height + 8 for r in rows)), "white")
    y = 0
    for row in rows:
        grid.paste(row, (0, y))
        y += row.height + 8
    grid.save(place / "pictures.png")
