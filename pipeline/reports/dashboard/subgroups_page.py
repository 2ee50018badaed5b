"""The page on subgroups: does the model serve everybody alike? The gate's figures."""

import math
from collections.abc import Sequence

from cxrflow.components.evaluate.verdict import SubgroupVerdict
from cxrflow.pipeline.reports.dashboard.blocks import (
    Cell,
    Chart,
    Missing,
    Section,
    Table,
    Text,
    columns,
    finding,
    interval_cell,
    number,
    signed,
    whole,
)
from cxrflow.pipeline.reports.dashboard.charts import Row, forest
from cxrflow.pipeline.reports.dashboard.classes_page import MARKS
from cxrflow.pipeline.reports.dashboard.evidence import Evidence

_TITLES = {"sex": "Sex", "view": "View", "age_band": "Age"}
_SAID = {"F": "women", "M": "men"}
_TONES = {"passed": "model", "failed": "bad", "not judged": "soft"}
_NONE = "The gate compared no groups: run the pipeline again, or set evaluate.subgroups."


def subgroup_sections(found: Evidence) -> list[Section]:
    """By sex, view and age band: mean AUC and gap with intervals, then each class."""
    groups = found.verdict.subgroups if found.verdict else ()
    if not groups:
        why = found.lacking("verdict", _NONE)
        return [Section("", (Missing("Subgroups", why),))]
    said = (
        "A group is compared with all other images, over the findings that both can tell: those "
        "with enough positive and negative patients on either side."
    )
    synthetic = " Synthetic patients: groups differ by chance alone." if found.run.synthetic else ""
    attributes = dict.fromkeys(group.attribute for group in groups)
    return [
        Section("", (Text(said + synthetic, "note"),)),
        *(
            _section(_TITLES.get(name, name), [g for g in groups if g.attribute == name], found)
            for name in attributes
        ),
    ]


def group_name(group: SubgroupVerdict) -> str:
    """A group as people call it."""
    return _SAID.get(group.group, group.group)


def _section(title: str, groups: Sequence[SubgroupVerdict], found: Evidence) -> Section:
    told = [group for group in groups if math.isfinite(group.auc.value)]
    if not told:
        reasons = "; ".join(f"{group_name(g)} ({g.images:,} images): {g.reason}" for g in groups)
        return Section(title, (Missing(f"Mean AUC by {title.lower()}", f"{reasons}."),))
    drawn = [
        Row(f"{group_name(g)} ({g.images:,})", g.auc.value, g.auc.low, g.auc.high, _TONES[g.status])
        for g in groups
    ]
    words = f"Mean AUC by {title.lower()}: " + ", ".join(
        f"{row.name} {row.value:.3f}" for row in drawn if math.isfinite(row.value)
    )
    overall = Table(
        f"Mean AUC by {title.lower()}",
        columns(
            *("group", "gate", "images", "patients", "findings", "mean AUC", "95 %"),
            *("less all others'", "95 %", "why"),
            words=("gate", "why"),
        ),
        tuple(
            (
                Cell(group_name(g)),
                Cell(g.status, mark=f"words short {MARKS[g.status]}"),
                whole(g.images),
                whole(g.patients),
                whole(len(g.classes)),
                number(g.auc.value),
                interval_cell(g.auc),
                signed(g.gap.value),
                interval_cell(g.gap, "+"),
                Cell(g.reason, mark="words soft"),
            )
            for g in groups
        ),
        note="Findings differ between groups of age, and with them the mean: compare a group with "
        "the others by its difference. One whose interval holds 0 may be chance.",
    )
    by_class = Table(
        f"AUC of each finding by {title.lower()}",
        columns("finding", *(group_name(g) for g in told)),
        tuple(
            (Cell(finding(name)), *(_class_cell(g, name) for g in told))
            for name in found.classes
            if any(name in g.classes for g in told)
        ),
        note="With its 95 % interval over patients. –: too few patients in the group or outside.",
    )
    chart = Chart(
        f"Mean AUC by {title.lower()}",
        forest(drawn, "mean AUC", words + "."),
        "Red: further below the others than is allowed, and no chance.",
    )
    return Section(title, (chart, overall, by_class))


def _class_cell(group: SubgroupVerdict, name: str) -> Cell:
    one = group.classes.get(name)
    if one is None:
        return number(math.nan)
    return Cell(f"{one.value:.3f} ({one.low:.2f} to {one.high:.2f})", one.value)
