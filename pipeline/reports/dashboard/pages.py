"""Writes a run's dashboard: static pages that open from disk, without a network."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cxrflow.components.ensemble.report import read_report
from cxrflow.components.ensemble.settings import final_model
from cxrflow.components.evaluate.results import too_few
from cxrflow.components.evaluate.verdict import FILE_NAME, Verdict, read_verdict
from cxrflow.pipeline.reports.dashboard.auc_table import Group, Table, columns, published
from cxrflow.pipeline.reports.dashboard.evaluations import (
    Evaluation,
    history_views,
    load,
    plot_views,
    slicing_views,
)
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import report as report_progress
from cxrflow.schema.text import visible

SPLITS = ("test", "eval")
_EVALUATOR = re.compile(r"Evaluator(?:\.(?P<member>.+))?")
_MEANS = (
    "An AUC needs {0} positive and {0} negative images. Means are over the classes that have one "
    "here, in the published columns too."
)
_NO_PLOTS = "This evaluation was made before plots were: run the pipeline again to have them."


@dataclass(frozen=True)
class RunFolder:
    """What the dashboard shows of a run."""

    root: Path
    artifacts: Mapping[str, Mapping[str, str]]  # node id -> output key -> folder
    ingest: Mapping[str, Any]  # settings of the ingest step
    data_dir: Path
    synthetic: bool
    min_shown: int  # positives and negatives that a class's AUC needs


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
        to: folder, made if missing; pages of an earlier call are replaced, all or none.

    Raises:
        CxrflowError: the run has no evaluation.
    """
    models = _evaluations(run)
    pages = [_index(run, models)]
    for name, evaluation in models.items():
        pages += [_slices(run, name, evaluation), _plots(run, name, evaluation)]
    pages.append(_history(run))

    with _whole(to) as aside:
        _copy_scripts(aside)
        _write_pages(pages, run, aside)
    return [to / page.file for page in pages]


@contextmanager
def _whole(to: Path) -> Iterator[Path]:
    """A folder whose files move to `to` when the block is done; if it fails, `to` stays as it was.

    Other files in `to` are left alone.
    """
    new = not to.exists()
    try:
        to.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".pages-", dir=to) as aside:
            yield Path(aside)
            for path in Path(aside).iterdir():
                path.replace(to / path.name)
    except BaseException as error:
        if new:
            with suppress(OSError):
                to.rmdir()
        if isinstance(error, OSError):
            raise _unwritable(to, error) from None
        raise


def _unwritable(to: Path, error: OSError) -> CxrflowError:
    reason = error.strerror or error
    return CxrflowError(f"{to} can't be written: {reason}; --to names another folder")


def _write_pages(pages: list[Page], run: RunFolder, folder: Path) -> None:
    environment = Environment(
        loader=PackageLoader("cxrflow.pipeline.reports.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # as the model has them
    environment.filters["auc"] = lambda value: "–" if math.isnan(value) else f"{value:.3f}"
    for page in pages:
        text = environment.get_template(page.template).render(
            pages=pages,
            file=page.file,
            title=page.title,
            run=visible(run.root.name),
            synthetic=run.synthetic,
            **page.content,
        )
        (folder / page.file).write_text(text, encoding="utf-8")


def _evaluations(run: RunFolder) -> dict[str, Evaluation]:
    """By model: the one that may be pushed first, then the members."""
    nodes = [m for m in map(_EVALUATOR.fullmatch, sorted(run.artifacts)) if m]
    if not nodes:
        raise CxrflowError(f"no evaluation in {run.root}: run the pipeline again")
    found = {}
    for done, node in enumerate(nodes, 1):
        member = node["member"]
        folder = Path(run.artifacts[node[0]]["evaluation"])
        found[member or _final_name(run)] = load(folder, run.ingest["classes"])
        report_progress(done, len(nodes), "evaluations")
    return found


def _final_name(run: RunFolder) -> str:
    """Of the model that may be pushed."""
    trained = [node.partition(".")[2] for node in run.artifacts if node.startswith("Trainer.")]
    return final_model(trained) if trained else "model"


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
                few={
                    name: too_few(found["positives"], found["negatives"], run.min_shown)
                    for name, found in scores.items()
                },
                groups=(*groups, *published(classes)),
                notes=(*notes, _MEANS.format(run.min_shown)),
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
    return f"This run's columns: {images:,} images in {visible(run.data_dir.name)}, {whose}."


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
    return read_report(Path(run.artifacts["Ensemble"]["report"]))


def _slices(run: RunFolder, name: str, evaluation: Evaluation) -> Page:
    content = {
        "about": "A row is a slice of a split. Choose a class to see all its scores; click a "
        "heading to sort, a row to mark it in the chart. A class with fewer than "
        f"{run.min_shown} positives or negatives in a slice has no AUC there.",
        "controls": {"table": list(views := slicing_views(evaluation, run.min_shown))},
        "data": views,
        "missing": "",
    }
    return Page(f"slices-{_file_name(name)}.html", f"{name}: slices", "slices.html", content)


def _plots(run: RunFolder, name: str, evaluation: Evaluation) -> Page:
    plots = {
        split: plot_views(evaluation, split, run.min_shown)
        for split in SPLITS
        if split in evaluation.plots
    }
    content = {
        "about": "ROC curve, precision-recall curve and calibration of each class, all on axes "
        "from 0 to 1. The precision-recall curve is drawn in steps, and the area under it is the "
        "AUPRC (average precision). A calibration bubble holds a fifteenth of the images, on the "
        "diagonal where prediction and label agree.",
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
    by_split = {split: history_views(found, split, run.min_shown) for split in SPLITS}
    by_split = {split: views for split, views in by_split.items() if views}
    content = {
        "about": "One row and one point for each run that evaluated anew; Model is the number of "
        "the evaluation in artifacts/Evaluator/evaluation/, the highest is the latest. A class "
        f"with fewer than {run.min_shown} positives or negatives has no AUC and no point.",
        "controls": {"split": list(by_split), "table": list(next(iter(by_split.values())))},
        "data": by_split,
        "missing": "",
    }
    return Page("history.html", "Runs over time", "history.html", content)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _copy_scripts(to: Path) -> None:
    own = files("cxrflow.pipeline.reports.dashboard") / "static"
    tfma = files("tensorflow_model_analysis") / "static" / "vulcanized_tfma.js"
    for source in (*own.iterdir(), tfma):
        (to / source.name).write_bytes(source.read_bytes())
