"""What a run found, for the terminal: classes, verdict, where everything lies, what to do next."""

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrflow.components.edge.parity.report import read_report as parity_report
from cxrflow.components.ensemble.report import read_report
from cxrflow.components.evaluate.verdict import FILE_NAME, ClassVerdict, Verdict, read_verdict
from cxrflow.components.publish.report import CheckReport
from cxrflow.pipeline.output import at_least, console_on, print_table, say, say_as_is
from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports import localisation
from cxrflow.pipeline.reports.baseline import Baseline
from cxrflow.pipeline.reports.next_steps import next_steps, tensorboard
from cxrflow.schema.commands import command_line
from cxrflow.schema.portable.scores import mean_auc

SYNTHETIC = "synthetic X-rays: these figures say nothing about real ones"
_MARKS = {
    "passed": "[green]passed[/]",
    "failed": "[red]failed[/]",
    "not judged": "[dim]not judged[/]",
}


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


def show(run: Run, root: Path, console: Console | None = None, again: str = "") -> None:
    """Prints the summary of a finished run.

    Args:
        run: the run.
        root: its folder, as the user named it.
        console: where to.
        again: the command that made it; default: one without a profile.
    """
    console = console or console_on(sys.stdout)
    found = verdict(run)
    report = ensemble_report(run)
    if report:
        print_table(console, _member_table(run, report))
        say(console, report["eval_note"])
        for left in report["left_out"]:
            say(console, f"left out: {left['name']}: {left['reason']}")
    print_table(console, _class_table(found, at_least(console)))
    if found.differences:
        print_table(console, _difference_table(found))
    show_verdict(run, console)
    say(console, _calibration_line(found))
    located = localisation.localisation_report(run)
    if located:
        say(console, localisation.line(located))
    trained = [name for name in run.trainers if name in run.executed]
    served = serving_report(run)
    parity = run.artifacts.get("EdgeEvaluator", {}).get("report")
    if parity:
        say(console, parity_report(Path(parity)).line)
    lines = {
        "took": f"{run.seconds:.0f} s" + ("" if trained else ", nothing trained: nothing changed"),
        **({"served": served.line} if served else {}),
        # A pushed model is a copy of the candidate.
        **({} if run.pushed else {"model": run.candidate}),
        "pushed": run.pushed or "nothing: only a blessed model is pushed",
        **({"edge": run.edge} if run.edge else {}),
        "quarantine": f"{run.artifacts['ImageExampleGen']['quarantine']}/quarantine.csv",
        "TensorBoard": tensorboard(run),
    }
    for name, text in lines.items():
        say_as_is(console, f"{name:12} {text}")
    again = again or command_line("run", "--root", root)
    for step in next_steps(run, found, served, root, again):
        say_as_is(console, f"{'next':12} {step}")


def show_verdict(run: Run, console: Console | None = None) -> None:
    """Prints the gate's verdict, the reasons beside what stands in the class table, and by what.

    What it could not judge is said in one line, beside the classes, which the table has.
    """
    console = console or console_on(sys.stdout)
    found = verdict(run)
    word = "[green]blessed[/]" if found.blessed else "[red]not blessed[/]"
    say(console, f"gate: {word}: {escape(_told(found))}", markup=True)
    if found.synthetic:
        say(console, SYNTHETIC)
    of_classes = tuple(f"{item.result.name}: " for item in found.classes)
    for reason in found.reasons:
        if not reason.startswith(of_classes):
            say(console, reason)
    for line in found.judged_by:
        say(console, f"judged by: {line}")
    for line in found.not_judged:
        if not line.startswith(of_classes):
            say(console, f"not judged: {line}")


def as_json(run: Run, root: Path) -> str:
    """The run's record for scripts: one JSON object; an AUC that is undefined is null."""
    found = verdict(run)
    served = serving_report(run)
    located = localisation.localisation_report(run)
    record = {
        "root": str(root.resolve()),
        "synthetic": run.synthetic,
        "blessed": found.blessed,
        "summary": found.summary,
        "reasons": list(found.reasons),
        "judged_by": list(found.judged_by),
        "not_judged": list(found.not_judged),
        "floor": {
            item.name: {
                "auc": _or_none(item.auc),
                "difference": _or_none(item.difference.value),
                "low": _or_none(item.difference.low),
                "high": _or_none(item.difference.high),
                "beaten": item.beaten,
                "judged": item.judged,
            }
            for item in found.floor
        },
        "differences": [
            {
                **{key: getattr(item, key) for key in ("name", "split")},
                "auc": _or_none(item.auc),
                "difference": _or_none(item.difference.value),
                "low": _or_none(item.difference.low),
                "high": _or_none(item.difference.high),
            }
            for item in found.differences
        ],
        "split": found.split,
        "mean_auc": _or_none(found.mean_auc),
        "classes": {
            item.result.name: {
                "auc": _or_none(item.result.auc),
                "low": _or_none(item.auc.low),
                "high": _or_none(item.auc.high),
                "positive_patients": item.positive_patients,
                "auprc": _or_none(item.result.auc_precision_recall),
                "positives": item.result.positives,
                "negatives": item.result.negatives,
                "gate": item.status,
                "reason": item.reason,
            }
            for item in found.classes
        },
        "serving_check": served and {"passed": served.blessed, "reasons": served.reasons},
        "localisation": located and asdict(located),
        "seconds": run.seconds,
        "executed": run.executed,
        "cached": run.cached,
        "data": run.data_dir,
        "model": run.candidate,
        "pushed": run.pushed or None,
        "edge": run.edge or None,
        "log": run.log,
        "artifacts": run.artifacts,
        "config": run.config,
    }
    return json.dumps(record, indent=1, allow_nan=False)


def serving_report(run: Run) -> CheckReport | None:
    """What the serving check found; None where there was none."""
    folder = run.artifacts.get("ServingCheck", {}).get("report")
    return CheckReport.read(Path(folder)) if folder else None


def show_baseline(run: Run, floor: list[Baseline], console: Console | None = None) -> None:
    """Prints the run's test AUCs beside those of its baselines, and what the gate compared."""
    console = console or console_on(sys.stdout)
    of_run = verdict(run)
    table = Table(title="test AUC" + (" (synthetic X-rays)" if run.synthetic else ""))
    for heading in ("class", "model", *(item.name for item in floor)):
        table.add_column(heading, justify="left" if heading == "class" else "right", no_wrap=True)
    for item in of_run.classes:
        others = (_number(one.test_auc[item.result.name]) for one in floor)
        table.add_row(escape(item.result.name), _number(item.result.auc), *others)
    table.add_section()
    means = (_number(item.test_mean_auc) for item in floor)
    table.add_row("mean", _number(of_run.mean_auc), *means)
    print_table(console, table)
    if run.synthetic:
        say(console, SYNTHETIC)
    for one in floor:
        say(console, f"{one.name}: {one.note}")
    for found in of_run.floor:
        difference = found.difference
        say(
            console,
            f"on eval, against {found.name}: mean AUC {found.model_auc:.3f} to {found.auc:.3f}, "
            f"difference {difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})",
        )


def _member_table(run: Run, report: dict[str, Any]) -> Table:
    """Mean AUCs of all members and methods; those on eval chose, those on test are told only."""
    title = "mean AUC" + (" (synthetic X-rays)" if run.synthetic else "")
    table = Table(title=title)
    for heading in ("model", "eval", "test", ""):
        table.add_column(
            heading, justify="left" if heading in ("model", "") else "right", no_wrap=True
        )
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


def _class_table(found: Verdict, at_least: str) -> Table:
    title = f"{found.name}, test split" + (" (synthetic X-rays)" if found.synthetic else "")
    table = Table(title=title, collapse_padding=True)  # else a passed class takes two lines of 80
    for heading in ("class", "AUC", "95 %", "positive\npatients", "AUPRC", "gate"):
        table.add_column(
            heading,
            justify="left" if heading in ("class", "gate") else "right",
            no_wrap=heading != "gate",
            min_width=13 if heading == "gate" else None,
        )
    for item in found.classes:
        result = item.result
        table.add_row(
            escape(result.name),
            _number(result.auc),
            f"{_number(item.auc.low)} to {_number(item.auc.high)}",
            f"{item.positive_patients:,}",
            _number(result.auc_precision_recall),
            _gate_cell(item, at_least),
        )
    table.add_section()
    table.add_row("mean", _number(found.mean_auc))
    return table


def _difference_table(found: Verdict) -> Table:
    """What the model is worth beside the floor and its best member."""
    table = Table(title=f"{found.name} against others on the same images: mean AUC")
    for heading in ("on", "against", "its AUC", "ours", "difference", "95 %"):
        words = heading in ("on", "against")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    for item in found.differences:
        gap = item.difference
        table.add_row(
            item.split.replace("_", " "),
            item.name,
            _number(item.auc),
            _number(item.model_auc),
            f"{gap.value:+.3f}",
            f"{gap.low:+.3f} to {gap.high:+.3f}",
        )
    return table


def _gate_cell(item: ClassVerdict, at_least: str) -> str:
    if item.status == "passed":
        return f"{_MARKS['passed']} ({at_least} {item.min_auc:.3f})"
    return f"{_MARKS[item.status]}: {escape(item.reason)}"


def _told(found: Verdict) -> str:
    """The sentence after its first word, which is said in colour."""
    return found.summary.partition(" ")[2].removeprefix("blessed, ")


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
