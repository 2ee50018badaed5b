"""What a run found, for the terminal: classes, verdict, where everything lies, what to do next."""

import math
from collections.abc import Iterable
from os.path import commonpath
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from components.edge_evaluate.report import read_report as parity_report
from components.ensemble.report import read_report
from components.evaluate.baseline import Baseline
from components.evaluate.results import mean_auc
from components.evaluate.verdict import FILE_NAME, ClassVerdict, Verdict, read_verdict
from components.publish.report import CheckReport
from pipeline.run import Run

SYNTHETIC = "synthetic X-rays: these figures say nothing about real ones"
_MARKS = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "not gated": "[dim]not gated[/]"}


def verdict(run: Run, node: str = "Gate") -> Verdict:
    """A gate's verdict: on the run's model, or by "Gate.<name>" on a member.

    Raises:
        CxrflowError: the file is gone.
    """
    return read_verdict(Path(run.artifacts[node]["verdict"]) / FILE_NAME)


def ensemble_report(run: Run) -> dict[str, Any] | None:
    """What the ensemble node reported (components/ensemble/report.py); None where one was trained.

    Raises:
        CxrflowError: the file is gone.
    """
    if "Ensemble" not in run.artifacts:
        return None
    return read_report(Path(run.artifacts["Ensemble"]["report"]))


def show(run: Run, root: Path, console: Console | None = None) -> None:
    """Prints the summary of a finished run."""
    console = console or Console()
    found = verdict(run)
    report = ensemble_report(run)
    if report:
        console.print(_member_table(run, report))
        console.print(report["eval_note"], soft_wrap=True)
        for left in report["left_out"]:
            console.print(f"left out: {left['name']}: {left['reason']}", soft_wrap=True)
    console.print(_class_table(found))
    console.print(_verdict_line(found), soft_wrap=True)
    console.print(_calibration_line(found), soft_wrap=True)
    of_classes = tuple(f"{item.result.name}: " for item in found.classes)
    for reason in found.reasons:
        if not reason.startswith(of_classes):  # those stand in the table
            console.print(reason, soft_wrap=True)
    trained = [name for name in run.trainers if name in run.executed]
    served = run.artifacts.get("ServingCheck", {}).get("report")
    parity = run.artifacts.get("EdgeEvaluator", {}).get("report")
    if parity:
        console.print(parity_report(Path(parity)).line, soft_wrap=True)
    lines = {
        "took": f"{run.seconds:.0f} s" + ("" if trained else ", nothing trained: nothing changed"),
        **({"served": CheckReport.read(Path(served)).line} if served else {}),
        "model": run.candidate,
        "pushed": run.pushed or "nothing: only a blessed model is pushed",
        **({"edge": run.edge} if run.edge else {}),
        "quarantine": f"{run.artifacts['ImageExampleGen']['quarantine']}/quarantine.csv",
        "TensorBoard": commonpath(run.artifacts[name]["model_run"] for name in run.trainers),
        "log": run.log,
    }
    for name, text in lines.items():
        console.print(f"{name:12} {text}", soft_wrap=True)
    console.print(f"next         {_next_step(run, root)}", soft_wrap=True)


def show_baseline(run: Run, found: Baseline, console: Console | None = None) -> None:
    """Prints the run's test AUCs beside the baseline's."""
    console = console or Console()
    of_run = verdict(run)
    table = Table(title="test AUC" + (" (synthetic X-rays)" if run.synthetic else ""))
    for heading in ("class", "model", "baseline", "difference"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for item in of_run.classes:
        other = found.test_auc[item.result.name]
        table.add_row(item.result.name, *_compared(item.result.auc, other))
    table.add_section()
    table.add_row("mean", *_compared(of_run.mean_auc, found.test_mean_auc))
    console.print(table)
    if run.synthetic:
        console.print(SYNTHETIC)
    console.print(f"baseline: C={found.c:g}, chosen on eval (mean AUC {found.eval_mean_auc:.3f})")


def _member_table(run: Run, report: dict[str, Any]) -> Table:
    """Mean AUCs of all members and methods; those on eval chose, those on test are told only."""
    title = "mean AUC" + (" (synthetic X-rays)" if run.synthetic else "")
    table = Table(title=title)
    for heading in ("model", "eval", "test", ""):
        table.add_column(heading, justify="left" if heading in ("model", "") else "right")
    means = {
        split: {name: mean_auc(_known(aucs.values())) for name, aucs in scores.items()}
        for split, scores in report["scores"].items()
    }
    weights = {member["name"]: f"weight {member['weight']:.2f}" for member in report["members"]}
    for name in run.config["models"]:
        found = verdict(run, f"Gate.{name}")
        note = weights.get(name, "[red]left out[/]")
        aucs = (_number(found.mean_auc_of(split)) for split in ("eval", "test"))
        table.add_row(name, *aucs, note)
    table.add_section()
    for name in report["methods"]:
        note = "[green]chosen[/]" if name == report["chosen"] else ""
        table.add_row(name, *(_number(means[split][name]) for split in ("eval", "test")), note)
    return table


def _calibration_line(found: Verdict) -> str:
    def mean(field: str) -> str:
        return _number(fmean(_known(getattr(c.result, field) for c in found.classes) or [math.nan]))

    return (
        f"calibration, mean of classes on test: ECE {mean('ece_uncalibrated')} before, "
        f"{mean('ece')} after; Brier {mean('brier_score_uncalibrated')} before, "
        f"{mean('brier_score')} after"
    )


def _class_table(found: Verdict) -> Table:
    title = f"{found.name}, test split" + (" (synthetic X-rays)" if found.synthetic else "")
    table = Table(title=title)
    for heading in ("class", "AUC", "positives", "AUPRC", "gate"):
        table.add_column(heading, justify="left" if heading in ("class", "gate") else "right")
    for item in found.classes:
        result = item.result
        table.add_row(
            result.name,
            _number(result.auc),
            f"{result.positives:,}",
            _number(result.auc_precision_recall),
            _gate_cell(item),
        )
    table.add_section()
    table.add_row("mean", _number(found.mean_auc))
    return table


def _gate_cell(item: ClassVerdict) -> str:
    if item.status == "pass":
        return f"{_MARKS['pass']} (≥ {item.min_auc:.3f})"
    return f"{_MARKS[item.status]}: {item.reason}"


def _verdict_line(found: Verdict) -> str:
    gated = [c for c in found.classes if c.status != "not gated"]
    counts = f"{sum(c.status == 'pass' for c in gated)} of {len(gated)} gated classes pass"
    change = (
        ""
        if math.isnan(found.mean_auc_change)
        else f"; mean {found.mean_auc_change:+.3f} against the last blessed model"
    )
    word = "[green]blessed[/]" if found.blessed else "[red]not blessed[/]"
    synthetic = f"\n{SYNTHETIC}" if found.synthetic else ""
    return f"gate: {word}: {counts}{change}{synthetic}"


def _next_step(run: Run, root: Path) -> str:
    if not run.pushed:
        return "train longer (--set train.epochs=N) or change evaluate.min_auc, and run again"
    if run.synthetic:
        return f"cxrflow dashboard --root {root}; cxrflow serve --root {root}"
    return f"cxrflow dashboard --root {root}; cxrflow baseline --root {root}, the floor"


def _compared(value: float, other: float) -> tuple[str, str, str]:
    difference = value - other
    return _number(value), _number(other), "–" if math.isnan(difference) else f"{difference:+.3f}"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
