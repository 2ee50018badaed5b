"""Writes a run's dashboard: static pages that open from disk, without a network."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from components.evaluate.dashboard.auc_table import Group, Table, columns, published
from components.evaluate.dashboard.evaluations import (
    Evaluation,
    history_views,
    load,
    slicing_views,
)
from components.evaluate.verdict import FILE_NAME, Verdict, read_verdict
from components.progress import report as report_progress
from schema.errors import CxrflowError

SPLITS = ("test", "eval")
_EVALUATOR = re.compile(r"Evaluator(?:\.(?P<member>.+))?")
_NO_PLOTS = "This evaluation was made before plots were: run the pipeline again to have them."


@dataclass(frozen=True)
class RunFolder:
    """What the dashboard shows of a run."""

    root: Path
    artifacts: Mapping[str, Mapping[str, str]]  # node id -> output key -> folder
    ingest: Mapping[str, Any]  # settings of the ingest step
    data_dir: Path
    synthetic: bool


@dataclass(frozen=True)
class Page:
    """One page: what it is called, its template, what that shows."""

    file: str
    title: str
    template: str
    content: dict[str, Any]


def write_dashboard(run: RunFolder, to: Path) -> list[Path]:
    """Writes the pages of a finished run and returns their paths, index.html first.

    Needs no network when written or when opened.

    Args:
        run: the run; one from before plots were made gets pages without plots that say so.
        to: folder, made if missing; pages of an earlier call are replaced.

    Raises:
        CxrflowError: the run has no evaluation.
    """
    models = _evaluations(run)
    pages = [_index(run, models)]
    for name, evaluation in models.items():
        pages += [_slices(name, evaluation), _plots(name, evaluation)]
    pages.append(_history(run))

    environment = Environment(
        loader=PackageLoader("components.evaluate.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["auc"] = lambda value: "–" if math.isnan(value) else f"{value:.3f}"
    to.mkdir(parents=True, exist_ok=True)
    _copy_scripts(to)
    for page in pages:
        text = environment.get_template(page.template).render(
            pages=pages,
            file=page.file,
            title=page.title,
            run=run.root.name,
            synthetic=run.synthetic,
            **page.content,
        )
        aside = to / f"{page.file}.tmp"
        aside.write_text(text, encoding="utf-8")
        aside.replace(to / page.file)
    return [to / page.file for page in pages]


def _evaluations(run: RunFolder) -> dict[str, Evaluation]:
    """By model: the one that may be pushed first, then the members."""
    nodes = sorted(node for node in run.artifacts if _EVALUATOR.fullmatch(node))
    if not nodes:
        raise CxrflowError(f"no evaluation in {run.root}: run the pipeline again")
    found = {}
    for done, node in enumerate(nodes, 1):
        member = _EVALUATOR.fullmatch(node)["member"]
        folder = Path(run.artifacts[node]["evaluation"])
        found[member or _final_name(run)] = load(folder, run.ingest["classes"])
        report_progress(done, len(nodes), "evaluations")
    return found


def _final_name(run: RunFolder) -> str:
    """Of the model that may be pushed."""
    if "Ensemble" in run.artifacts:
        return "ensemble"
    trainers = [node.partition(".")[2] for node in run.artifacts if node.startswith("Trainer")]
    return (trainers and trainers[0]) or "model"


def _index(run: RunFolder, models: Mapping[str, Evaluation]) -> Page:
    final = next(iter(models))
    report = _ensemble_report(run)
    tables = []
    for split in SPLITS:
        scores = models[final].whole(split)
        if not scores:
            continue
        classes = models[final].classes
        members = {
            name: {c: found["auc"] for c, found in evaluation.whole(split).items()}
            for name, evaluation in models.items()
            if not report or name != final
        }
        groups = [Group("this run's models", columns(members, members, classes))]
        if report:
            combined = columns(report["scores"][split], report["methods"], classes)
            groups += [Group("their ensembles", combined)] if combined else []
        notes = [report["eval_note"]] if report and split == "eval" else []
        tables.append(
            Table(
                split=split,
                about=_about(run, split, models[final].examples[split]),
                classes=classes,
                positives={name: int(found["positives"]) for name, found in scores.items()},
                groups=(*groups, *published(classes)),
                notes=(*notes, "Means are over the classes that have an AUC."),
            )
        )
    content = {
        "tables": tables,
        "chosen": report["chosen"] if report else final,
        "lines": _lines(run, report),
    }
    return Page("index.html", "Scores", "index.html", content)


def _about(run: RunFolder, split: str, images: int) -> str:
    """Which patients a split of this run holds."""
    mode = run.ingest["split"]
    listed = (run.data_dir / "test_list.txt").is_file()
    official = mode == "official" or (mode == "auto" and listed)
    if split == "test" and official:
        whose = "patients of its official test_list.txt"
    elif split == "test":
        whose = f"patients drawn by a hash of their id ({run.ingest['test_share']:.0%} of all)"
    else:
        rest = "not in the official test list" if official else "not in test"
        whose = f"{run.ingest['eval_share']:.0%} of the patients {rest}, by a hash of their id"
    return f"This run's columns: {images:,} images in {run.data_dir.name}, {whose}."


def _lines(run: RunFolder, report: Mapping[str, Any] | None) -> list[str]:
    lines = []
    verdict = _verdict(run)
    if verdict and verdict.blessed:
        lines.append("The gate blessed the model.")
    elif verdict:
        lines.append("The gate did not bless the model: " + "; ".join(verdict.reasons))
    if report:
        members = [f"{m['name']} ({m['backbone']}, {m['head']})" for m in report["members"]]
        lines.append(f"The model is {report['chosen']}, made of {', '.join(members)}.")
        lines += [f"Left out: {left['name']}: {left['reason']}" for left in report["left_out"]]
    return lines


def _verdict(run: RunFolder) -> Verdict | None:
    """None where the gate's file is of an older version, or gone."""
    try:
        return read_verdict(Path(run.artifacts["Gate"]["verdict"]) / FILE_NAME)
    except (CxrflowError, KeyError):
        return None


def _ensemble_report(run: RunFolder) -> dict[str, Any] | None:
    if "Ensemble" not in run.artifacts:
        return None
    path = Path(run.artifacts["Ensemble"]["report"]) / "ensemble.json"
    if not path.is_file():
        raise CxrflowError(f"{path} is gone: run the pipeline again")
    return json.loads(path.read_text())


def _slices(name: str, evaluation: Evaluation) -> Page:
    content = {
        "about": "A row is a slice of a split. Choose a class to see all its scores; click a "
        "heading to sort, a row to mark it in the chart.",
        "controls": {"table": list(views := slicing_views(evaluation))},
        "data": views,
        "missing": "",
    }
    return Page(f"slices-{_file_name(name)}.html", f"{name}: slices", "slices.html", content)


def _plots(name: str, evaluation: Evaluation) -> Page:
    plots = {split: evaluation.plots[split] for split in SPLITS if split in evaluation.plots}
    content = {
        "about": "ROC curve, precision-recall curve and calibration of each class. A calibration "
        "bubble holds a fifteenth of the images, on the diagonal where prediction and label agree.",
        "controls": {"split": list(plots)},
        "data": plots,
        "missing": "" if plots else _NO_PLOTS,
    }
    return Page(f"plots-{_file_name(name)}.html", f"{name}: plots", "plots.html", content)


def _history(run: RunFolder) -> Page:
    """Every evaluation of the final model that this root still holds."""
    folder = Path(run.artifacts["Evaluator"]["evaluation"]).parent
    found = {}
    for path in sorted(
        (p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
    ):
        try:
            found[path.name] = load(path, run.ingest["classes"])
        except CxrflowError:  # a run that broke, or one with other classes
            continue
    by_split = {split: views for split in SPLITS if (views := history_views(found, split))}
    content = {
        "about": "One row and one point for each run that evaluated anew; Model is the number of "
        "the evaluation in artifacts/Evaluator/evaluation/, the highest is the latest.",
        "controls": {"split": list(by_split), "table": list(next(iter(by_split.values())))},
        "data": by_split,
        "missing": "",
    }
    return Page("history.html", "Runs over time", "history.html", content)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _copy_scripts(to: Path) -> None:
    own = files("components.evaluate.dashboard") / "static"
    tfma = files("tensorflow_model_analysis") / "static" / "vulcanized_tfma.js"
    for source in (*own.iterdir(), tfma):
        (to / source.name).write_bytes(source.read_bytes())
