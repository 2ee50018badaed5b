"""The page of the gate's verdicts, one a run, those that the cache answered included."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cxrflow.components.evaluate.verdict import FILE_NAME, Verdict, read_verdict
from cxrflow.components.storage import local
from cxrflow.pipeline.reports.dashboard.blocks import (
    Cell,
    Chart,
    Missing,
    Section,
    Table,
    Text,
    columns,
    number,
    signed,
)
from cxrflow.pipeline.reports.dashboard.charts import Row, history
from cxrflow.pipeline.reports.dashboard.evidence import Evidence
from cxrflow.pipeline.reports.dashboard.lineage import PipelineRun, data_version
from cxrflow.schema.errors import CxrflowError

_CHARTED = 14  # of the latest runs; the table has all


@dataclass(frozen=True)
class Judged:
    """One run and what its gate said."""

    run: PipelineRun
    state: str  # of the gate: ran, from cache, or that it wasn't reached
    verdict: Verdict | None
    why: str = ""  # there is no verdict


def history_sections(found: Evidence) -> list[Section]:
    """Chart and table, the latest run first."""
    judged = list(_judged(found))
    if not judged:
        why = found.lacking("lineage", "ML Metadata knows of no run here.")
        return [Section("", (Missing("The gate over runs", why),))]
    charted = [one for one in judged if one.verdict][-_CHARTED:]
    blocks = []
    if charted:
        rows = [
            Row(
                f"{one.run.started:%d %b %H:%M}",
                *_mean(one.verdict),
                tone="good" if one.verdict and one.verdict.blessed else "bad",
            )
            for one in charted
        ]
        words = "Mean AUC on test by run: " + ", ".join(f"{r.name} {r.value:.3f}" for r in rows)
        blocks.append(
            Chart(
                "Mean AUC of the judged findings, run by run",
                history([row.name for row in rows], rows, "mean AUC", words + "."),
                "Green dot: let through. Red cross: refused.",
            )
        )
    table = Table(
        "Every run in this folder",
        columns(
            "run",
            "gate",
            "verdict",
            "mean AUC",
            "against the last",
            "data",
            "why",
            words=("gate", "verdict", "data", "why"),
        ),
        tuple(_row(one) for one in reversed(judged)),
        note="Against the last: the judged findings' mean AUC less the last blessed model's. From "
        "cache: nothing that the gate judges by had changed; the verdict is an earlier run's.",
    )
    said = Text(
        "Runs are told apart by when they began; data by the hash of images and tables.", "note"
    )
    return [Section("", (*blocks, table, said))]


def _judged(found: Evidence) -> Iterator[Judged]:
    for run in found.runs:
        gate = run.of("Gate")
        verdicts = gate.outputs.get("verdict", ()) if gate else ()
        if gate is None or not verdicts:
            broke = next((one.node for one in run.executions if one.state == "broke"), "")
            why = f"{broke} broke" if broke else "the run ended before the gate"
            yield Judged(run, "not reached" if gate is None else gate.state, None, why)
            continue
        try:
            path = found.run.root / local(verdicts[-1].uri) / FILE_NAME
            yield Judged(run, gate.state, read_verdict(path))
        except CxrflowError:
            why = f"its verdict ({verdicts[-1].uri}) isn't there any more, or is of another version"
            yield Judged(run, gate.state, None, why)


def _mean(verdict: Verdict | None) -> tuple[float, float, float]:
    """The judged classes' mean AUC with its interval; all classes' where there is none."""
    if verdict is None:
        return math.nan, math.nan, math.nan
    found = verdict.judged_auc
    if not math.isfinite(found.value):
        return verdict.mean_auc, math.nan, math.nan
    return found.value, found.low, found.high


def _row(one: Judged) -> tuple[Cell, ...]:
    when = Cell(f"{one.run.started:%Y-%m-%d %H:%M}", one.run.started.timestamp())
    data = Cell(data_version(one.run)[:12] or "–", mark="words soft")
    if one.verdict is None:
        unknown = number(math.nan)
        return (
            when,
            Cell(one.state, mark="words"),
            Cell("none", mark="words soft"),
            unknown,
            unknown,
            data,
            Cell(one.why, mark="words"),
        )
    found = one.verdict
    change = found.against_last.get("auc")
    return (
        when,
        Cell(one.state, mark="words"),
        Cell("let through", mark="words good")
        if found.blessed
        else Cell("refused", mark="words bad"),
        number(_mean(found)[0]),
        signed(change.value if change else math.nan),
        data,
        Cell("; ".join(found.reasons) or found.summary, mark="words"),
    )
