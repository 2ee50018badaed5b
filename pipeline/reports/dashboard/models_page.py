"""The page that compares: the model, its members, other ways of combining them, and baselines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cxrflow.components.evaluate.evidence.floor import NAMES as BASELINES
from cxrflow.components.evaluate.statistics.draws import Estimate, estimate
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
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
)
from cxrflow.pipeline.reports.dashboard.charts import Row, forest
from cxrflow.pipeline.reports.dashboard.classes_page import few_words
from cxrflow.pipeline.reports.dashboard.evidence import NO_EVALUATION, NO_SCORES, Evidence
from cxrflow.pipeline.reports.dashboard.predictions import LAST_BLESSED, mean_drawn
from cxrflow.schema.portable.scores import mean_auc

_KINDS = {
    "model": "the model",
    "last": "last blessed model",
    "member": "member",
    "method": "way to combine",
    "baseline": "baseline",
}
TONES = {
    "model": "good",
    "last": "model",
    "baseline": "other",
    "member": "model",
    "method": "soft",
}


def kind_of(found: Evidence, name: str) -> str:
    """What a scored model is: a key of _KINDS."""
    if name == found.final:
        return "model"
    if name == LAST_BLESSED:
        return "last"
    if name in BASELINES:
        return "baseline"
    return "method" if found.report and name in found.report["methods"] else "member"


def said(name: str) -> str:
    """A model's name for people."""
    return BASELINES.get(name, name.replace("_", " ")).removeprefix("the ")


def model_sections(found: Evidence) -> list[Section]:
    """Mean AUCs with intervals and paired differences, then by class."""
    if found.final not in found.evaluations:
        why = found.lacking(f"evaluation of {found.final}", NO_EVALUATION)
        return [Section("", (Missing("Models compared", why),))]
    compared = [_compared(found, split) for split in ("test", "eval")]
    return [_floor(found), *compared, *_by_class(found)]


def _floor(found: Evidence) -> Section:
    """What the gate says of baselines."""
    title = "Has it learned more than the simplest models?"
    floor = found.verdict.floor if found.verdict else ()
    if not floor:
        why = found.lacking("verdict", "The gate compared it with none.")
        return Section(title, (Missing("Baselines on eval", why),))
    rows = tuple(
        (
            Cell(said(one.name)),
            Cell("beaten", mark="words short good")
            if one.beaten
            else Cell("not beaten" if one.judged else "too few patients", mark="words short bad"),
            number(one.auc),
            number(one.model_auc),
            signed(one.difference.value),
            interval_cell(one.difference, "+"),
            Cell("yes" if one.required else "no", mark="words"),
        )
        for one in floor
    )
    names = ("baseline", "gate", "its mean AUC", "the model's", "difference", "95 %")
    return Section(
        title,
        (
            Table(
                "Baselines on eval, as the gate compared them",
                columns(*names, "must be beaten", words=("must be beaten", "gate")),
                rows,
                note="Beaten: the whole interval of the paired difference lies above 0. Over the "
                "findings that both have an AUC of.",
            ),
        ),
    )


def _compared(found: Evidence, split: str) -> Section:
    title = f"{split[0].upper()}{split[1:]} split"
    rows = mean_estimates(found, split)
    if not rows:
        return Section(title, (Missing(f"Models on {split}", "This split wasn't evaluated."),))
    drawn = [
        Row(said(name), one.value, one.low, one.high, TONES[kind_of(found, name)])
        for name, one, _ in rows
    ]
    words = f"Mean AUC on {split}: " + ", ".join(f"{r.name} {r.value:.3f}" for r in drawn)
    own = next((one.value for name, one, _ in rows if name == found.final), math.nan)
    report = found.report or {}
    notes = [str(report["eval_note"])] if report and split == "eval" else []
    notes += [f"Left out: {left['name']}: {left['reason']}" for left in report.get("left_out", ())]
    chart = Chart(
        f"Mean AUC, {split}",
        forest(drawn, "mean AUC", words + ".", line=own if math.isfinite(own) else None),
        "Dashed: the model's own. Orange: baselines.",
    )
    blocks: list[Block] = [chart, _table(found, split, rows), *(Text(n, "note") for n in notes)]
    if not found.predictions:
        blocks.insert(1, Missing("Intervals", found.lacking("scores", NO_SCORES)))
    return Section(title, tuple(blocks))


def _table(found: Evidence, split: str, rows: Sequence[tuple[str, Estimate, Estimate]]) -> Table:
    return Table(
        f"Mean AUC on {split}",
        columns("model", "what", "mean AUC", "95 %", "less the model's", "95 %", words=("what",)),
        tuple(
            (
                Cell(said(name), mark="chosen" if name == found.final else ""),
                Cell(_KINDS[kind_of(found, name)] + _weight(found, name), mark="words"),
                number(one.value),
                interval_cell(one),
                signed(gap.value),
                interval_cell(gap, "+"),
            )
            for name, one, gap in rows
        ),
        note="Differences are paired: the same patients are drawn for both. Ways to combine that "
        "weren't chosen have no interval, since nobody kept their score of each X-ray.",
    )


def _weight(found: Evidence, name: str) -> str:
    members = found.report["members"] if found.report else []
    weight = next((m["weight"] for m in members if m["name"] == name), None)
    chosen = found.report and name == found.report["chosen"]
    return (f", weight {weight:.2f}" if weight is not None else "") + (", chosen" if chosen else "")


def mean_estimates(found: Evidence, split: str) -> list[tuple[str, Estimate, Estimate]]:
    """By model, the best first: mean AUC and its difference from the final model's."""
    evaluation = found.evaluations.get(found.final)
    if evaluation is None or not evaluation.whole(split):
        return []
    few = few_words(found, split)
    shown = [not few[name] for name in found.classes]
    drawn = _drawn(found, split, shown)
    own = drawn.get(found.final)
    estimates: dict[str, tuple[Estimate, Estimate]] = {}
    for name, draws in drawn.items():
        gap = Estimate() if own is None or name == found.final else estimate(draws - own)
        estimates[name] = estimate(draws), gap
    for name, aucs in _reported(found, split).items():
        known = (aucs.get(c) for c in found.classes if not few[c])
        mean = mean_auc(math.nan if auc is None else auc for auc in known)
        estimates.setdefault(name, (Estimate(mean), Estimate()))
    rows = [(name, *pair) for name, pair in estimates.items()]
    return sorted(rows, key=lambda row: -row[1].value if math.isfinite(row[1].value) else math.inf)


def _drawn(found: Evidence, split: str, shown: Sequence[bool]) -> dict[str, np.ndarray]:
    """Mean AUC of each model that was scored on the final one's patients, [1 + draws]."""
    of_split = {name: by[split] for name, by in found.predictions.items() if split in by}
    final = of_split.get(found.final)
    patients = set(final.images.patient_id) if final else None
    return {
        name: mean_drawn(found.drawn[name][split], shown)
        for name, read in of_split.items()
        if patients is None or set(read.images.patient_id) == patients
    }


def _reported(found: Evidence, split: str) -> dict[str, Mapping[str, Any]]:
    """AUCs by class of models that evaluations or the ensemble's report know."""
    aucs: dict[str, Mapping[str, Any]] = {
        name: {c: s["auc"] for c, s in one.whole(split).items()}
        for name, one in found.evaluations.items()
        if one.whole(split)
    }
    if found.report:
        scores = found.report["scores"].get(split, {})
        aucs |= {name: scores[name] for name in found.report["methods"] if name in scores}
    return aucs


def _by_class(found: Evidence) -> list[Section]:
    tables = []
    for split in ("test", "eval"):
        aucs = _reported(found, split)
        if not aucs:
            continue
        few = few_words(found, split)
        rows = tuple(
            (Cell(finding(c)), Cell(few[c], math.inf, "soft words", span=len(aucs)))
            if few[c]
            else (
                Cell(finding(c)),
                *(_auc(of.get(c), name == found.final) for name, of in aucs.items()),
            )
            for c in found.classes
        )
        tables.append(
            Table(
                f"AUC by finding on {split}",
                columns("finding", *map(said, aucs)),
                rows,
                note=f"One with fewer than {found.run.min_shown} positives or negatives has none.",
            )
        )
    return [Section("By finding", tuple(tables))] if tables else []


def _auc(value: float | None, chosen: bool) -> Cell:
    cell = number(math.nan if value is None else value)
    return Cell(cell.text, cell.sort, "chosen" if chosen else cell.mark)
