"""The curves of a training: which charts the report shows of its losses and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diptych.report.chart import line_chart

ENDS = ("low", "high")  # of an interval


def score_charts(scores: Sequence[Mapping[str, float]], features: str) -> list[str]:
    """KID through time with its intervals, in thousandths as people quote it."""
    thousandths = [
        {key: 1000 * value if key.startswith("kid/") else value for key, value in line.items()}
        for line in scores
    ]
    title = f"KID x 1000 ({features})"
    return _chart(thousandths, title, {"to B": "kid/to_b", "to A": "kid/to_a"})


def loss_charts(metrics: Sequence[Mapping[str, float]]) -> list[str]:
    """A chart of each kind of loss that the method has."""
    kinds = {
        "cycle loss (L1)": {"A": "cycle_a", "B": "cycle_b"},
        "patch contrast (PatchNCE)": {"A": "contrast_a", "B": "contrast_b"},
        "adversarial loss of the generators": {
            "G_ab": "G_ab/adversarial", "G_ba": "G_ba/adversarial",
        },
        "loss of the discriminators": {"D_a": "D_a", "D_b": "D_b"},
        "identity loss (L1)": {"A": "identity_a", "B": "identity_b"},
        "change of what is plain (L1)": {"A": "plain_a", "B": "plain_b"},
        "learning rate": {"rate": "rate"},
    }  # fmt: skip
    return [chart for title, names in kinds.items() for chart in _chart(metrics, title, names)]


def _chart(
    metrics: Sequence[Mapping[str, float]], title: str, names: Mapping[str, str]
) -> list[str]:
    """Those lines that there are, with their ``/low`` and ``/high``; no chart without any."""
    present = {label: key for label, key in names.items() if any(key in line for line in metrics)}
    whole = [line for line in metrics if all(key in line for key in present.values())]
    if not present or not whole:
        return []
    lines = {label: [line[key] for line in whole] for label, key in present.items()}
    bands = []
    if all(f"{key}/{end}" in line for line in whole for key in present.values() for end in ENDS):
        bands = [
            ([line[f"{key}/low"] for line in whole], [line[f"{key}/high"] for line in whole])
            for key in present.values()
        ]
    return [line_chart(title, [line["step"] for line in whole], lines, bands)]
