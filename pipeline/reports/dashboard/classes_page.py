"""The page of figures by class: intervals, what the gate says, published figures apart."""

import math
from collections.abc import Mapping

from cxrflow.components.evaluate.results import too_few
from cxrflow.components.evaluate.statistics.draws import Estimate, estimate
from cxrflow.components.evaluate.verdict import ClassVerdict
from cxrflow.pipeline.reports.dashboard.auc_table import published
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
    whole,
)
from cxrflow.pipeline.reports.dashboard.charts import Row, forest
from cxrflow.pipeline.reports.dashboard.cohort import about
from cxrflow.pipeline.reports.dashboard.evidence import NO_EVALUATION, Evidence
from cxrflow.pipeline.reports.dashboard.predictions import mean_drawn
from cxrflow.pipeline.reports.dashboard.published_table import published_sections
from cxrflow.pipeline.reports.dashboard.run_folder import SPLITS
from cxrflow.schema.portable.scores import mean_auc

MARKS = {"passed": "good", "failed": "bad", "not judged": "soft"}
_TONES = {"passed": "model", "failed": "bad", "not judged": "soft"}


def class_sections(found: Evidence) -> list[Section]:
    """Forest plot and table of each split, then the published figures."""
    evaluation = found.evaluations.get(found.final)
    if evaluation is None:
        why = found.lacking(f"evaluation of {found.final}", NO_EVALUATION)
        return [Section("", (Missing("Figures by finding", why),))]
    splits = [split for split in SPLITS if evaluation.whole(split)]
    images = evaluation.examples[splits[0]]
    sources = published(found.run, found.classes, splits[0], images)
    aucs, _ = class_estimates(found, splits[0])
    return [
        *(_split(found, split) for split in splits),
        *published_sections(sources, aucs, few_words(found, splits[0])),
    ]


def few_words(found: Evidence, split: str) -> dict[str, str]:
    """By class: words in place of an AUC that too few images bear, or empty."""
    scores = found.evaluations[found.final].whole(split)
    return {
        name: too_few(scores[name]["positives"], scores[name]["negatives"], found.run.min_shown)
        for name in found.classes
    }


def judged_classes(found: Evidence, split: str) -> Mapping[str, ClassVerdict]:
    """What the gate says by class, if it judged by this split."""
    verdict = found.verdict
    if verdict is None or verdict.split != split:
        return {}
    return {item.result.name: item for item in verdict.classes}


def class_estimates(found: Evidence, split: str) -> tuple[dict[str, Estimate], Estimate]:
    """AUC by class and their mean over the classes that have enough images, with intervals where
    the run kept each X-ray's score.
    """
    few = few_words(found, split)
    scores = found.evaluations[found.final].whole(split)
    drawn = found.drawn.get(found.final, {}).get(split)
    if drawn is None:
        aucs = {name: Estimate(scores[name]["auc"]) for name in found.classes}
        return aucs, Estimate(mean_auc(aucs[n].value for n in found.classes if not few[n]))
    mean = mean_drawn(drawn, [not few[name] for name in found.classes])
    return dict(zip(found.classes, map(estimate, drawn), strict=True)), estimate(mean)


def on_whom(found: Evidence, split: str) -> str:
    """Which images, of how many patients."""
    read = found.predictions.get(found.final, {}).get(split)
    patients = len(set(read.images.patient_id.tolist())) if read else None
    return about(found.run, split, found.evaluations[found.final].examples[split], patients)


def _split(found: Evidence, split: str) -> Section:
    few = few_words(found, split)
    aucs, mean = class_estimates(found, split)
    judged = judged_classes(found, split)
    drawn = []
    for name in found.classes:
        one = Estimate() if few[name] else aucs[name]
        tone = _TONES[judged[name].status] if name in judged else "model"
        drawn.append(Row(finding(name), one.value, one.low, one.high, tone))
    drawn.append(Row("mean", mean.value, mean.low, mean.high, "good"))
    words = f"AUC by finding on {split}: " + ", ".join(
        f"{row.name} {row.value:.3f}" for row in drawn if math.isfinite(row.value)
    )
    said = "Bars are 95 % intervals over patients; dashed: a coin."
    blocks: list[Block] = [
        Text(f"{on_whom(found, split)}.", "note"),
        Chart(
            f"AUC by finding, {split}",
            forest(drawn, "AUC", words + ".", line=0.5),
            said + (" Red: fails at the gate; gray: not judged alone." if judged else ""),
        ),
        _table(found, split, few, aucs, mean),
    ]
    if found.predictions.get(found.final, {}).get(split) is None:
        why = found.lacking("scores", found.lacking(f"scores of {found.final} on {split}", ""))
        blocks.insert(1, Missing("Intervals", why))
    return Section(f"{split[0].upper()}{split[1:]} split", tuple(blocks))


def _table(
    found: Evidence,
    split: str,
    few: Mapping[str, str],
    aucs: Mapping[str, Estimate],
    mean: Estimate,
) -> Table:
    scores = found.evaluations[found.final].whole(split)
    judged = judged_classes(found, split)
    rows = []
    for name in found.classes:
        of, gate = scores[name], judged.get(name)
        rows.append(
            (
                Cell(finding(name)),
                *((_status(gate),) if gate else ()),
                whole(of["positives"]),
                *((whole(gate.positive_patients),) if gate else ()),
                *(
                    (Cell(few[name], math.inf, "soft words", span=2), number(math.nan))
                    if few[name]
                    else (
                        number(aucs[name].value),
                        interval_cell(aucs[name]),
                        number(of["auc_precision_recall"]),
                    )
                ),
                number(of["ece"]),
                number(of["brier_score"]),
                *(_gate_cells(gate) if gate else ()),
            )
        )
    patients = ("their patients",) if judged else ()
    status = ("gate",) if judged else ()
    gate_names = ("bar", "less last blessed", "why, and DeLong's interval") if judged else ()
    names = (
        "finding",
        *status,
        "positives",
        *patients,
        "AUC",
        "95 %",
        "AUPRC",
        "ECE",
        "Brier",
    )
    empty = [Cell("")] * (3 + len(gate_names))
    foot = (
        Cell("mean"),
        *[Cell("")] * (1 + len(status) + len(patients)),
        number(mean.value),
        interval_cell(mean),
        *empty,
    )
    return Table(
        f"Figures on {split}",
        columns(*names, *gate_names, words=("gate", "why, and DeLong's interval")),
        tuple(rows),
        foot=(foot,),
        note="Intervals draw patients, not images: a patient's images resemble each other. The "
        "mean is over the findings that have an AUC here."
        + (
            " DeLong's interval, with patients as clusters, is a cross-check of the bootstrap's."
            if judged
            else ""
        ),
    )


def _status(gate: ClassVerdict) -> Cell:
    return Cell(gate.status, mark=f"words short {MARKS[gate.status]}")


def _gate_cells(gate: ClassVerdict) -> tuple[Cell, ...]:
    change, delong = gate.against_last.get("auc"), gate.delong
    said = [gate.reason] if gate.reason else []
    if math.isfinite(delong.low):
        said.append(f"DeLong {delong.low:.3f} to {delong.high:.3f}")
    return (
        number(gate.min_auc),
        signed(change.value if change else math.nan),
        Cell("; ".join(said), mark="words soft"),
    )
