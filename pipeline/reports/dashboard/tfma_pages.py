"""Pages that show TensorFlow Model Analysis' own components."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from cxrflow.pipeline.reports.dashboard.evaluations import (
    Evaluation,
    history_views,
    load,
    plot_views,
    slicing_views,
)
from cxrflow.pipeline.reports.dashboard.evidence import NO_EVALUATION, Evidence
from cxrflow.pipeline.reports.dashboard.frame import copy_own_scripts
from cxrflow.pipeline.reports.dashboard.run_folder import SPLITS, Page, RunFolder
from cxrflow.schema.errors import CxrflowError

GROUP = "TensorFlow Model Analysis"
_NO_PLOTS = "The evaluation has no plots: run the pipeline again to have them."


def tfma_pages(found: Evidence) -> list[Page]:
    """Slices and plots of each model, of which the menu has the final one's, and runs over time."""
    names = list(found.evaluations)
    if not names:
        why = found.lacking(f"evaluation of {found.final}", NO_EVALUATION)
        return [
            _page("slices.html", "Slices", "slices.html", _content(missing=why), GROUP),
            _page("plots.html", "Plots", "plots.html", _content(missing=why), GROUP),
            _page("over-time.html", "Over time", "history.html", _content(missing=why), GROUP),
        ]
    pages = []
    for kind, make in (("slices", slices_page), ("plots", plots_page)):
        beside = {name: f"{kind}-{file_name(name)}.html" for name in names}
        for name, evaluation in found.evaluations.items():
            group = GROUP if name == names[0] else ""
            pages.append(make(found.run, name, evaluation, beside, group))
    return [*pages, _over_time(found)]


def copy_scripts(to: Path) -> None:
    """Copies what pages need beside them."""
    copy_own_scripts(to)
    tfma = files("tensorflow_model_analysis") / "static" / "vulcanized_tfma.js"
    (to / tfma.name).write_bytes(tfma.read_bytes())


def file_name(name: str) -> str:
    """A model's name as part of a file's."""
    return re.sub(r"[^\w.-]", "_", name)


def _content(**more: object) -> dict[str, object]:
    return {"about": "", "controls": {}, "data": {}, "missing": "", "beside": {}, **more}


def _page(file: str, title: str, template: str, content: dict[str, object], group: str) -> Page:
    return Page(file, title, template, content, group)


def slices_page(
    run: RunFolder, name: str, evaluation: Evaluation, beside: Mapping[str, str], group: str = ""
) -> Page:
    """TFMA's table of one model; `beside`: pages of all models, by their names."""
    views = slicing_views(evaluation, run.min_shown)
    about = (
        f"TFMA's table of {name}: a row is a slice of a split. Choose a class to see all its "
        "scores, a heading to sort, a row to mark it in the chart. A class with fewer than "
        f"{run.min_shown} positives or negatives in a slice has no AUC there."
    )
    content = _content(about=about, controls={"table": list(views)}, data=views, beside=beside)
    return _page(beside[name], "Slices", "slices.html", content, group)


def plots_page(
    run: RunFolder, name: str, evaluation: Evaluation, beside: Mapping[str, str], group: str = ""
) -> Page:
    """TFMA's plots of one model; `beside`: pages of all models, by their names."""
    plots = {
        split: plot_views(evaluation, split, run.min_shown)
        for split in SPLITS
        if split in evaluation.plots
    }
    about = (
        f"TFMA's plots of {name}: ROC curve, precision-recall curve and calibration of each class, "
        "all on axes from 0 to 1. The precision-recall curve is drawn in steps, and the area under "
        "it is the AUPRC (average precision). A calibration bubble holds a fifteenth of the "
        "images, on the diagonal where prediction and label agree."
    )
    content = _content(
        about=about,
        controls={"split": list(plots)},
        data=plots,
        missing="" if plots else _NO_PLOTS,
        beside=beside,
    )
    return _page(beside[name], "Plots", "plots.html", content, group)


def _over_time(found: Evidence) -> Page:
    """Every evaluation of the final model that this root still holds."""
    run = found.run
    evaluations = {}
    folder = run.output("Evaluator", "evaluation")
    beside = sorted(
        (path for path in (folder.parent.iterdir() if folder else ()) if path.name.isdigit()),
        key=lambda path: int(path.name),
    )
    for path in beside:
        if path == folder and found.final in found.evaluations:
            evaluations[path.name] = found.evaluations[found.final]
            continue
        try:
            evaluations[path.name] = load(path, run.ingest["classes"])
        except CxrflowError:  # a run that broke, or one with other classes
            continue
    by_split = {split: history_views(evaluations, split, run.min_shown) for split in SPLITS}
    by_split = {split: views for split, views in by_split.items() if views}
    if not by_split:
        content = _content(missing=found.lacking(f"evaluation of {found.final}", NO_EVALUATION))
        return _page("over-time.html", "Over time", "history.html", content, GROUP)
    about = (
        "TFMA's time series: one row and one point for each run that evaluated anew; Model is the "
        "number of the evaluation in artifacts/Evaluator/evaluation/, the highest is the latest. A "
        f"class with fewer than {run.min_shown} positives or negatives has no AUC and no point."
    )
    controls = {"split": list(by_split), "table": list(next(iter(by_split.values())))}
    content = _content(about=about, controls=controls, data=by_split)
    return _page("over-time.html", "Over time", "history.html", content, GROUP)
