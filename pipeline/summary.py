"""What a run found, for the terminal: classes, verdict, where everything lies, what to do next."""

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from components.evaluate.baseline import Baseline
from components.evaluate.verdict import FILE_NAME, ClassVerdict, Verdict, read_verdict
from pipeline.run import Run

SYNTHETIC = "synthetic X-rays: these figures say nothing about real ones"
_MARKS = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "not gated": "[dim]not gated[/]"}


def verdict(run: Run) -> Verdict:
    """The gate's verdict on the run's model.

    Raises:
        CxrflowError: the file is gone.
    """
    return read_verdict(Path(run.artifacts["Gate"]["verdict"]) / FILE_NAME)


def show(run: Run, root: Path, console: Console | None = None) -> None:
    """Prints the summary of a finished run."""
    console = console or Console()
    found = verdict(run)
    console.print(_class_table(found))
    console.print(_verdict_line(found), soft_wrap=True)
    of_classes = tuple(f"{item.result.name}: " for item in found.classes)
    for reason in found.reasons:
        if not reason.startswith(of_classes):  # those stand in the table
            console.print(reason, soft_wrap=True)
    trained = "Trainer" in run.executed
    lines = {
        "took": f"{run.seconds:.0f} s" + ("" if trained else ", nothing trained: nothing changed"),
        "model": run.artifacts["Trainer"]["model"],
        "pushed": run.pushed or "nothing: only a blessed model is pushed",
        "quarantine": f"{run.artifacts['ImageExampleGen']['quarantine']}/quarantine.csv",
        "TensorBoard": run.artifacts["Trainer"]["model_run"],
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


def _class_table(found: Verdict) -> Table:
    table = Table(title="test split" + (" (synthetic X-rays)" if found.synthetic else ""))
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
        return "cxrflow run --profile nih_sample --data DIR, on real X-rays (see README)"
    return f"cxrflow baseline --root {root}, the floor to compare with"


def _compared(value: float, other: float) -> tuple[str, str, str]:
    difference = value - other
    return _number(value), _number(other), "–" if math.isnan(difference) else f"{difference:+.3f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
