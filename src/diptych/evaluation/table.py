"""Scores as tables for people: the same for the terminal and the report."""

from __future__ import annotations

from dataclasses import dataclass

from diptych.data.suits import FEWEST_SCORED
from diptych.evaluation.pairs import Likeness, PaletteScores
from diptych.evaluation.results import FEW, DirectionScores, Evaluation, SetScores
from diptych.sides import way_name
from diptych.words import counted, printable


@dataclass(frozen=True)
class ScoreTable:
    """Title, column heads, rows of as many cells, and a remark below."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


def score_tables(evaluation: Evaluation) -> list[ScoreTable]:
    """Both directions: sets of pictures first, then pictures one by one."""
    tables = []
    for direction in evaluation.directions:
        tables += [_sets(evaluation, direction), _pictures(direction)]
        if direction.palette is not None:
            tables.append(_palette(direction, direction.palette))
    return tables


def set_names(evaluation: Evaluation) -> list[str]:
    """What ``set_cells`` are called."""
    return ["KID x 1000", "95 % interval", evaluation.frechet_name, "precision", "recall"]


def set_cells(found: SetScores) -> list[str]:
    """The scores of one set of pictures, for people."""
    return [
        f"{1000 * found.kid.value:.1f}",
        f"{1000 * found.kid.low:.1f} to {1000 * found.kid.high:.1f}",
        f"{found.frechet:.1f}",
        f"{found.precision:.2f}",
        f"{found.recall:.2f}",
    ]


def _sets(evaluation: Evaluation, direction: DirectionScores) -> ScoreTable:
    pictures, targets = direction.pictures, direction.targets
    title = (
        f"{way_name(direction.to)}: {counted(pictures, 'translation')}, "
        f"{counted(targets, 'real picture')}"
    )
    columns = ["", "translations", "real, split", "untouched"]
    but = ""
    if known := evaluation.learned_from:
        but += f" These scores flatter: {counted(known, 'held-out picture')} had been learned from."
    if evaluation.unread:
        but += (
            f" Held-out pictures that are missing or damaged, and not scored: "
            f"{len(evaluation.unread)}, the first {printable(evaluation.unread[0])}."
        )
    if direction.distances is None:
        note = (
            f"Distances between sets, and shares of classes, need at least {FEWEST_SCORED} "
            "held-out pictures of each domain: give test folders, or train with a larger --set "
            "data.holdout." + but
        )
        return ScoreTable(title, columns, [], note)
    found = direction.distances
    size = f"of {evaluation.size} px" if evaluation.size else "in their own sizes"
    if evaluation.strength != 1:
        size += f", changed {evaluation.strength:g} times as much as learned"
    sets = (found.translations, found.split, found.untouched)
    cells = [set_names(evaluation), *map(set_cells, sets)]
    rows = [list(row) for row in zip(*cells, strict=True)]
    note = (
        f"{evaluation.features} features, pictures {size}. "
        f"Lower is better for KID and {evaluation.frechet_name}, higher for precision (how many "
        "translations look like real pictures) and recall (how many real pictures look like "
        "translations). The interval is of this model's KID had other pictures been held out; "
        "another seed may differ by more. The split compares one half of the real pictures with "
        "the other: no translator can be expected to have a lower KID (the "
        f"{evaluation.frechet_name} of halves is biased further upwards). Untouched pictures are "
        "what doing nothing would score." + but
    )
    if found.translations.recognised is not None:
        classes = ", ".join(map(str, direction.classes))
        rows.append([f"recognised as {classes}", *(_recognised(one) for one in sets)])
        note += (
            " Recognised: the share of pictures that a classifier takes for these classes of "
            "ImageNet; of the real ones that of all."
        )
    if direction.channels > 3:
        note += f" Features are of the first three of {direction.channels} channels alone."
    if min(pictures, targets) < FEW:
        note += (
            f" With fewer than {FEW} pictures the {evaluation.frechet_name} is biased upwards: go "
            "by KID."
        )
    else:
        rows.insert(0, rows.pop(2))
    return ScoreTable(title, columns, rows, note)


def _pictures(direction: DirectionScores) -> ScoreTable:
    rows = []
    if direction.cycle is not None:
        rows.append(["there and back", *likeness_cells(direction.cycle)])
    if direction.identity_l1 is not None:
        rows.append(["of the target already", f"{direction.identity_l1:.4f}", "", ""])
    columns = ["", "L1", "PSNR (dB)", "SSIM"]
    if direction.paired is not None:
        rows.append(["against the true translation", *likeness_cells(direction.paired)])
    if direction.lpips is not None:
        columns.append("LPIPS (AlexNet)")
        rows = [[*row, ""] for row in rows[:-1]] + [[*rows[-1], f"{direction.lpips:.3f}"]]
    note = (
        "L1 is mean|x - y| for values from -1 to 1: lower is better, and higher for PSNR and SSIM. "
        "Another range of values (--range-a, --range-b) has other numbers. "
        "A translator leaves pictures that are of the target already alone."
    )
    if direction.paired is not None:
        note += (
            " The true translation is the held-out picture of the same name (or, with --paired, "
            "place): where names say nothing, score with --unpaired."
        )
    title = f"{way_name(direction.to)}: picture by picture"
    return ScoreTable(title, columns, rows, note)


def _palette(direction: DirectionScores, scores: PaletteScores) -> ScoreTable:
    rows = [
        ["pixels right", f"{scores.pixel_accuracy:.1%}"],
        ["mean over classes", f"{scores.class_accuracy:.1%}"],
        ["mean IoU over classes", f"{scores.class_iou:.3f}"],
        *([f"pixels of {colour} right", f"{x:.1%}"] for colour, x in scores.accuracy_of.items()),
    ]
    note = (
        "Each pixel is read as the nearest of the palette's colours. Means are over the classes "
        "that occur in the truth."
    )
    if scores.strange > 0.01:
        note += (
            f" BUT {scores.strange:.0%} of the true pixels are like none of these colours: does "
            "the palette name all classes?"
        )
    return ScoreTable(f"{way_name(direction.to)}: label maps", ["", "score"], rows, note)


def _recognised(scores: SetScores) -> str:
    return f"{scores.recognised:.1%}" if scores.recognised is not None else ""


def likeness_cells(scores: Likeness) -> list[str]:
    """L1, PSNR, SSIM."""
    return [f"{scores.l1:.4f}", f"{scores.psnr:.1f}", f"{scores.ssim:.3f}"]
