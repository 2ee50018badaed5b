"""The page of operating points: what would be found, missed and falsely reported."""

import math

from cxrflow.components.evaluate.statistics.draws import Draws
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Cell,
    Missing,
    Section,
    Table,
    Text,
    columns,
    finding,
    interval_cell,
    number,
    whole,
)
from cxrflow.pipeline.reports.dashboard.evidence import NO_SCORES, Evidence
from cxrflow.pipeline.reports.dashboard.operating import (
    POINTS,
    Counts,
    counts_at,
    point_words,
    thresholds,
)
from cxrflow.pipeline.reports.dashboard.predictions import DRAWS

_TITLE = "Confusion counts at operating points"


def operating_sections(found: Evidence) -> list[Section]:
    """Confusion counts on test, a table an operating point."""
    read = found.scored("test")
    if read is None or not len(read.images):
        return [Section("", (Missing(_TITLE, found.lacking("scores", NO_SCORES)),))]
    if not any(thresholds(found.info, name) for name in found.classes):
        why = found.lacking("model", "The model names no operating point.")
        return [Section("", (Missing(_TITLE, why),))]
    draws = Draws.of(read.images.patient_id, DRAWS)
    sections = []
    for point, title in POINTS.items():
        rows, without, empty = [], [], []
        for place, name in enumerate(found.classes):
            limit = thresholds(found.info, name).get(point)
            if limit is None:
                without.append(finding(name))
                continue
            if not (read.images.labels[:, place] > 0).any():
                empty.append(finding(name))
            rows.append(
                (Cell(finding(name)), *_cells(counts_at(read, place, {point: limit}, draws)[point]))
            )
        blocks: list[Block] = []
        if rows:
            blocks.append(_table(rows, point_words(found.info, found.classes[0], point)))
        else:
            blocks.append(Missing(title, "No finding has this operating point."))
        if without:
            blocks.append(
                Text(
                    f"No such point: {', '.join(without)}. Cases on eval were too few, or no "
                    "threshold reaches it.",
                    "note",
                )
            )
        if empty:
            blocks.append(Text(f"No positive image on test: {', '.join(empty)}.", "note"))
        sections.append(Section(title[0].upper() + title[1:], tuple(blocks)))
    return sections


def _cells(at: Counts) -> tuple[Cell, ...]:
    rates = (at.sensitivity, at.specificity, at.precision)
    return (
        number(at.threshold),
        whole(at.true_positives),
        whole(at.false_negatives),
        whole(at.false_positives),
        whole(at.true_negatives),
        *(
            cell
            for one in rates
            for cell in (
                number(one.value if math.isfinite(one.value) else math.nan, 2),
                interval_cell(one, digits=2),
            )
        ),
    )


def _table(rows: list[tuple[Cell, ...]], words: str) -> Table:
    names = ("finding", "threshold", "found", "missed", "false alarms", "rightly negative")
    return Table(
        f"Counts on test: {words}",
        columns(*names, "sensitivity", "95 %", "specificity", "95 %", "PPV", "95 %"),
        tuple(rows),
        groups=(("", 2), ("images", 4), ("rates, with intervals over patients", 6)),
        note="PPV: share of alarms that are right; it falls where a finding is rarer than here.",
    )
