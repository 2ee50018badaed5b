"""Tables of how well attention maps find radiologists' boxes, where the run has scored them."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from cxrflow.components.evaluate.statistics.draws import Estimate
from cxrflow.components.localise.report import ClassScore, Figure, Score, read_localisation
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Cell,
    Missing,
    Table,
    Text,
    columns,
    finding,
    interval_cell,
    number,
    whole,
)
from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.schema.errors import CxrflowError

REFERENCE = Path(__file__).resolve().parents[3] / "schema" / "localisation_reference.csv"
_TITLE = "Attention against boxes"
_CONTROLS = {
    "random_box": "random place",
    "centre_prior": "centre",
    "random_weights": "shuffled weights",
}


def localisation_blocks(run: RunFolder) -> Iterator[Block]:
    """The tables, or words in their place."""
    folder = run.output("Localiser", "report")
    if folder is None:
        yield Missing(
            _TITLE,
            "This run didn't score its maps: no list of boxes (BBox_List_2017.csv) lay in the data "
            "folder, or the run is of an older version.",
        )
        return
    try:
        found = read_localisation(folder)
    except CxrflowError as error:
        yield Missing(_TITLE, str(error))
        return
    if not found.classes:
        yield Missing(_TITLE, "No boxed image of this run's classes lies in the test split.")
    else:
        yield _pointing(found.classes)
        yield from _overlaps(found.classes)
    for left in found.left_out:
        yield Text(f"{left.boxes:,} boxes left out: {left.reason}.", "note")


def _pointing(classes: tuple[ClassScore, ...]) -> Table:
    return Table(
        "Pointing game: X-rays on which the map's highest place lies in a box",
        columns("finding", "X-rays", "patients", "model", "95 %", *_CONTROLS.values()),
        tuple(
            (
                Cell(finding(one.name)),
                whole(one.images),
                whole(one.patients),
                *_model(one.pointing),
                *(_control(one.pointing, name) for name in _CONTROLS),
            )
            for one in classes
        ),
        groups=(("", 3), ("share of X-rays", 2), ("the same of controls", len(_CONTROLS))),
        note="A map that is no better than the controls says nothing about where a finding is.",
    )


def _overlaps(classes: tuple[ClassScore, ...]) -> Iterator[Table]:
    """A table a T(IoBB), beside Wang et al.'s accuracies."""
    published = _published()
    for threshold in dict.fromkeys(o.threshold for one in classes for o in one.overlaps):
        rows = []
        for one in classes:
            at = next((o for o in one.overlaps if o.threshold == threshold), None)
            if at is None:
                continue
            rows.append(
                (
                    Cell(finding(one.name)),
                    whole(one.boxes),
                    *_model(at.accuracy),
                    *(_control(at.accuracy, name) for name in _CONTROLS),
                    _known(published.get((threshold, one.name))),
                    _known(at.false_positives.model.value),
                )
            )
        yield Table(
            f"Boxes that a predicted box lies in by at least {threshold:g} (T(IoBB))",
            columns(
                *("finding", "boxes", "model", "95 %", *_CONTROLS.values()),
                *("Wang 2017", "false boxes an X-ray"),
            ),
            tuple(rows),
        )


def _published() -> Mapping[tuple[float, str], float]:
    """Wang et al.'s accuracy by threshold and class."""
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    return {(float(row[1]), row[2]): float(row[3]) for row in rows}


def _model(score: Score) -> tuple[Cell, Cell]:
    return _known(score.model.value), interval_cell(_estimate(score.model), digits=2)


def _control(score: Score, name: str) -> Cell:
    control = score.controls.get(name)
    return _known(control.value if control else None)


def _estimate(figure: Figure) -> Estimate:
    known = (figure.value, figure.low, figure.high)
    return Estimate(*(math.nan if one is None else one for one in known))


def _known(value: float | None) -> Cell:
    return number(math.nan if value is None else value, 2)
