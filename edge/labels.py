"""Results against a label table: the AUC of every class and a plot of the ROC curves."""

import csv
import os
from typing import Any, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from bundle import Refused, reason
from label_table import (
    FINDINGS,
    IMAGE,
    BadTable,
    BadValue,
    findings,
    image_name,
    read_rows,
    repeats,
    same_name,
)
from results import MARK, START, SYNTHETIC, made_here
from writing import written_aside

NIH_CLASSES = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
MAX_BAD_SHARE = 0.01  # of the rows: ingest's default

# Of the plot, pixels; curves are drawn larger and scaled down, which smooths them.
_SIDE, _MARGIN, _LEGEND, _FINER = 600, 60, 240, 3
# fmt: off
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2",
    "#7f7f7f", "#bcbd22", "#17becf", "#000000", "#00a000", "#a00000", "#0000ff",
)
# fmt: on


class Labels(Dict[str, FrozenSet[str]]):
    """An image's name, in the form of `same_name` -> its findings."""

    def __init__(self, found: Iterable[Tuple[str, FrozenSet[str]]] = (), aside: Sequence[str] = ()):
        """`aside` says a line a row that was left out: which, and why."""
        super().__init__(found)
        self.set_aside = list(aside)


class Curve(NamedTuple):
    """How well a class is told apart; a class without positives or negatives has no curve."""

    name: str
    positives: int
    negatives: int
    auc: Optional[float]
    points: np.ndarray  # float [k, 2], false and true positive rate from (0, 0) to (1, 1)


def read_labels(path: str, classes: Sequence[str]) -> Labels:
    """Reads `Data_Entry_2017*.csv` or `sample_labels.csv` by the rules of ingest.

    Rows that ingest would set aside for their image's name or findings are set aside here too, and
    as many are too many.

    Args:
        path: the table; its columns `Image Index` and `Finding Labels` ("A|B") are read.
        classes: the model's.

    Raises:
        Refused: it can't be read, is no such table, or too many rows are bad.
    """
    known = set(classes) | set(NIH_CLASSES)
    aside = {}  # type: Dict[int, str]
    found = {}  # type: Dict[int, Tuple[str, FrozenSet[str]]]
    said = []  # type: List[Tuple[int, str, object]]
    try:
        for row in read_rows(path, (IMAGE, FINDINGS), {}):
            if row.fault:
                aside[row.line] = row.fault
                continue
            name, content = row.values[0], row.values[1]  # type: str, Any
            try:
                name = image_name(name)
            except BadValue as error:
                aside[row.line] = str(error)
                continue
            try:
                content = findings(content, known)
                found[row.line] = (name, content)
            except BadValue as error:
                aside[row.line] = str(error)
            said.append((row.line, name, content))
    except BadTable as error:
        raise Refused(str(error)) from error
    for line, why in repeats(said).items():
        aside.setdefault(line, why)
    lines = [f"row {line}: {why}" for line, why in sorted(aside.items())]
    labels = Labels((label for line, label in sorted(found.items()) if line not in aside), lines)
    rows = len(labels) + len(lines)
    if len(lines) > MAX_BAD_SHARE * rows:
        raise Refused(
            f"{len(lines)} of {rows} rows of {path} are bad, at most {MAX_BAD_SHARE:.0%} may be; "
            f"repair or remove them, first {lines[0]}"
        )
    return labels


def label_of(file: str, labels: Labels) -> Optional[FrozenSet[str]]:
    """The findings of an image by its file's name; None if the table hasn't got it."""
    return labels.get(same_name(os.path.basename(file)))


def curves(
    rows: Iterable[Dict[str, Any]], labels: Labels, classes: Sequence[str]
) -> Tuple[List[Curve], int]:
    """The ROC curve of each class over the rows that have an answer and labels; how many."""
    truths, scores = [], []  # type: List[List[bool]], List[List[float]]
    for row in rows:
        found = label_of(row["file"], labels)
        if found is not None and "findings" in row:
            truths.append([name in found for name in classes])
            scores.append([one["probability"] for one in row["findings"]])
    truth = np.array(truths, bool).reshape(-1, len(classes))
    score = np.array(scores, float).reshape(-1, len(classes))
    return [roc(name, truth[:, i], score[:, i]) for i, name in enumerate(classes)], len(truth)


def roc(name: str, truth: np.ndarray, score: np.ndarray) -> Curve:
    """The curve of one class from bool [N] and probabilities [N]; equal ones are one step.

    The area is the trapezoids', which is the chance that a positive has the higher probability,
    ties counted half (Hanley and McNeil, Radiology 1982).
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return Curve(name, positives, negatives, None, np.zeros((0, 2)))
    order = np.argsort(-score, kind="mergesort")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    true = np.cumsum(truth[order])[last]
    rates = np.stack([(last + 1 - true) / negatives, true / positives], axis=1)
    points = np.vstack([np.zeros((1, 2)), rates])
    steps = np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2
    return Curve(name, positives, negatives, float(steps.sum()), points)


def write_auc(path: str, model: str, found: Sequence[Curve]) -> None:
    """The study's table: `Class,<model>` and a row a class, empty where there is no AUC."""
    with written_aside(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Class", model])
        writer.writerows([one.name, "" if one.auc is None else repr(one.auc)] for one in found)


def write_plot(path: str, model: str, synthetic: bool, found: Sequence[Curve], images: int) -> None:
    """A PNG of the ROC curves, with every class's AUC."""
    plot = _curves_image(found)
    draw, font = ImageDraw.Draw(plot), ImageFont.load_default()

    def write(x: float, y: float, text: str) -> None:
        # The font has Latin letters only.
        draw.text((x, y), text.encode("ascii", "replace").decode(), fill="black", font=font)

    end = _MARGIN + _SIDE
    for i in range(6):
        at = _SIDE * i // 5
        write(_MARGIN + at - 8, end + 8, f"{i / 5:.1f}")
        write(_MARGIN - 28, end - at - 6, f"{i / 5:.1f}")
    write(_MARGIN + _SIDE / 2 - 60, end + 30, "false positive rate")
    write(8, _MARGIN - 22, "true positive rate")
    write(_MARGIN + 120, 14, f"{model}: {images} images")
    if synthetic:
        write(_MARGIN + 120, 30, SYNTHETIC)
    for i, one in enumerate(found):
        y = _MARGIN + 8 + 22 * i
        draw.line([(end + 16, y + 6), (end + 40, y + 6)], fill=_COLOURS[i % len(_COLOURS)], width=3)
        area = "no AUC" if one.auc is None else f"{one.auc:.3f}"
        write(end + 48, y, f"{one.name} {area} ({one.positives})")
    write(end + 16, _MARGIN + 16 + 22 * len(found), "AUC (positive images)")
    info = PngInfo()
    info.add_text(*MARK)  # so that infer.py doesn't take it for an X-ray
    with written_aside(path) as aside:
        plot.save(aside, "PNG", pnginfo=info)


def refuse_foreign_plot(path: str) -> None:
    """Raises Refused if `write_plot` would overwrite a picture that was made elsewhere."""
    try:
        with open(path, "rb") as file:
            ours = made_here(file.read(START))
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"{path} can't be read: {reason(error)}") from error
    if not ours:
        raise Refused(f"{path} isn't a plot of infer.py: name another --out")


def _curves_image(found: Sequence[Curve]) -> Image.Image:
    scale = _FINER

    def place(x: float, y: float) -> Tuple[float, float]:
        return (_MARGIN + _SIDE * x) * scale, (_MARGIN + _SIDE * (1 - y)) * scale

    size = (_MARGIN + _SIDE + _LEGEND) * scale, (_MARGIN + _SIDE + _MARGIN) * scale
    plot = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(plot)
    for i in range(6):
        draw.line([place(i / 5, 0), place(i / 5, 1)], fill="#dddddd", width=scale)
        draw.line([place(0, i / 5), place(1, i / 5)], fill="#dddddd", width=scale)
    draw.line([place(0, 0), place(1, 1)], fill="#999999", width=scale)
    for i, one in enumerate(found):
        line = [place(x, y) for x, y in one.points]
        if line:
            draw.line(line, fill=_COLOURS[i % len(_COLOURS)], width=2 * scale)
    box = Image.BOX  # type: ignore[attr-defined]  # the device's Pillow has no Resampling
    return plot.resize((size[0] // scale, size[1] // scale), box)
