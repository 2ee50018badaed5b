"""Evaluations as TFMA's components take them, by class name instead of class id."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import Error as JsonError
from google.protobuf.message import DecodeError

from cxrflow.components.evaluate.results import CANDIDATE, too_few
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import SPLIT
from cxrflow.schema.lean import uncollected
from cxrflow.schema.model_json import MODEL_JSON, read_model_json
from cxrflow.schema.portable.scores import mean_auc

# Of the two plots, what TFMA's ROC, precision-recall and calibration components read.
MATRICES = ("threshold", "truePositives", "falsePositives", "trueNegatives", "falseNegatives")
RATES = ("precision", "recall")
NEEDS_BOTH = ("auc", "auc_precision_recall")  # scores that few positives or negatives don't bear

_NO_CURVE = "No {} curve: all images are positive or all negative."


@dataclass(frozen=True)
class Evaluation:
    """One model's scores and plots."""

    classes: tuple[str, ...]
    metrics: dict[str, dict[str, dict[str, float]]]  # slice -> class -> score -> value, or NaN
    examples: dict[str, int]  # slice -> count
    plots: dict[str, dict[str, dict[str, Any]]]  # split -> class -> TFMA's plot data

    def whole(self, split: str) -> dict[str, dict[str, float]]:
        """Scores of a split by class; empty where it wasn't evaluated."""
        return self.metrics.get(split, {})


def load(directory: Path, classes: Sequence[str]) -> Evaluation:
    """Reads what TFX's Evaluator wrote.

    Slices are named "test" or "test, view=AP".

    Args:
        directory: the Evaluator's `evaluation` artifact.
        classes: names in the order of the labels, where the model doesn't say.

    Raises:
        CxrflowError: there is no evaluation of these classes.
    """
    result = tfma_result(directory)
    names = tuple(_model_classes(_model_beside(result.model_location, directory)) or classes)
    metrics, examples, plots = {}, {}, {}
    for key, outputs in result.slicing_metrics or []:
        found = _by_class(outputs, names)
        if not found:
            continue
        if set(found) != set(names):
            raise CxrflowError(f"the evaluation in {directory} isn't about {len(names)} classes")
        metrics[_slice_name(key)] = {
            name: {k: _number(v) for k, v in found[name].items() if not k.endswith("_diff")}
            for name in names
        }
        count = outputs.get("", {}).get("", {}).get("example_count", {})
        examples[_slice_name(key)] = int(_number(count) if count else 0)
    for key, outputs in result.plots or []:
        if outputs and "," not in _slice_name(key):
            plots[_slice_name(key)] = {
                name: _drawn(plot) for name, plot in _by_class(outputs, names).items()
            }
    if not metrics:
        raise CxrflowError(f"the evaluation in {directory} is empty: run the pipeline again")
    return Evaluation(names, metrics, examples, plots)


def tfma_result(directory: Path) -> Any:
    """TFMA's EvalResult of the candidate, for TFMA's own views.

    Raises:
        CxrflowError: there is no evaluation, or it can't be read.
    """
    with uncollected():
        import tensorflow as tf
        import tensorflow_model_analysis as tfma
        from tensorflow_model_analysis.writers.eval_config_writer import load_eval_run

    try:
        if not (directory / "eval_config.json").is_file():
            raise CxrflowError(f"no evaluation in {directory}: run the pipeline again")
        locations = load_eval_run(str(directory))[3]
        # Where there is no baseline, TFMA leaves the model's name out.
        return tfma.load_eval_result(
            str(directory), model_name=CANDIDATE if len(locations) > 1 else None
        )
    except (OSError, ValueError, JsonError, DecodeError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CxrflowError(f"the evaluation in {directory} can't be read: {reason}") from error


def slicing_views(evaluation: Evaluation, least: int) -> dict[str, list[dict[str, Any]]]:
    """Data of <tfma-nb-slicing-metrics>: one table of all classes' AUC, and one a class.

    Words stand for the AUC of a class with fewer than `least` positives or negatives.
    """
    views: dict[str, dict[str, dict[str, float | str]]] = {
        "AUC of all classes": {
            slice_: shown_aucs(classes, least) for slice_, classes in evaluation.metrics.items()
        }
    }
    for name in evaluation.classes:
        views[name] = {
            slice_: _shown(found[name], least) for slice_, found in evaluation.metrics.items()
        }
    return {
        view: [
            {"slice": slice_, "metrics": _component_metrics(scores, evaluation.examples[slice_])}
            for slice_, scores in sorted(table.items())
        ]
        for view, table in views.items()
    }


def history_views(
    evaluations: dict[str, Evaluation], split: str, least: int
) -> dict[str, list[Any]]:
    """Data of <tfma-nb-time-series>: the mean and all classes' AUC over runs, and one a class.

    evaluations: by the name under which the page shows them; least: as for `slicing_views`.
    """
    views: dict[str, list[Any]] = {}
    for run, evaluation in evaluations.items():
        classes = evaluation.whole(split)
        if not classes:
            continue
        aucs = shown_aucs(classes, least)
        mean = mean_auc(auc for auc in aucs.values() if isinstance(auc, float))
        tables = {
            "AUC of all classes": {"All (mean)": mean, **aucs},
            **{name: _shown(scores, least) for name, scores in classes.items()},
        }
        for view, scores in tables.items():
            config = {"modelIdentifier": run, "dataIdentifier": split}
            metrics = _component_metrics(scores, evaluation.examples[split])
            views.setdefault(view, []).append({"config": config, "metrics": metrics})
    return views


def plot_views(evaluation: Evaluation, split: str, least: int) -> dict[str, dict[str, Any]]:
    """By class: its plots, what stands above them, and words in place of what can't be drawn."""
    views = {}
    for name, plot in evaluation.plots[split].items():
        scores = evaluation.metrics[split][name]
        positives = int(scores["positives"])
        images = positives + int(scores["negatives"])
        few = too_few(positives, scores["negatives"], least)
        areas = f"AUC {scores['auc']:.3f}, AUPRC {scores['auc_precision_recall']:.3f}"
        missing = {}
        if not plot["matrices"]:
            missing = {kind: _NO_CURVE.format(kind) for kind in ("ROC", "precision-recall")}
        views[name] = {
            **plot,
            "missing": missing,
            "title": f"{name}: {positives:,} of {images:,} images positive, "
            + (f"no AUC ({few})" if few else areas),
        }
    return views


def shown_aucs(classes: dict[str, dict[str, float]], least: int) -> dict[str, float | str]:
    """By class: the AUC, or words in its place."""
    return {name: _shown(scores, least)["auc"] for name, scores in classes.items()}


def _shown(scores: dict[str, float], least: int) -> dict[str, float | str]:
    few = too_few(scores["positives"], scores["negatives"], least)
    return {**scores, **(dict.fromkeys(NEEDS_BOTH, few) if few else {})}


def _component_metrics(scores: dict[str, float | str], examples: int) -> dict[str, Any]:
    # output name -> sub key -> metric.
    values = {name: _component_value(value) for name, value in scores.items()}
    return {"": {"": {**values, "example_count": {"doubleValue": examples}}}}


def _component_value(value: float | str) -> dict[str, Any]:
    """As TFMA's components take it; null stands for "undefined"."""
    if isinstance(value, str):
        return {"stringValue": value}
    return {"doubleValue": value if math.isfinite(value) else None}


def _by_class(outputs: dict[str, Any] | None, classes: Sequence[str]) -> dict[str, Any]:
    found = (outputs or {}).get("", {})
    ids = {f"classId:{i}": name for i, name in enumerate(classes)}
    return {ids.get(key, key): value for key, value in found.items() if key}


def _drawn(plot: dict[str, Any]) -> dict[str, Any]:
    """TFMA's plot data without what no component of ours reads."""
    matrices = plot.get("confusionMatrixAtThresholds", {}).get("matrices", [])
    buckets = plot.get("calibrationHistogramBuckets", {}).get("buckets", [])
    return {
        "matrices": [{k: m[k] for k in (*MATRICES, *RATES) if k in m} for m in matrices],
        "buckets": buckets,
    }


def _slice_name(key: tuple[tuple[str, Any], ...]) -> str:
    rest = [f"{name}={value}" for name, value in key if name != SPLIT]
    return ", ".join([dict(key)[SPLIT], *rest])


def _number(value: dict[str, Any]) -> float:
    return float(value.get("doubleValue", 0.0))  # protobuf's JSON leaves zeros out


def _model_beside(location: str, directory: Path) -> Path:
    """The evaluated model in the run's own folder, wherever that lay when TFMA wrote this down."""
    folders = Path(location).parts
    if "artifacts" not in folders:
        return Path(location)
    of_run = len(folders) - folders[::-1].index("artifacts")
    return directory.parents[2].joinpath(*folders[of_run:])  # beside Evaluator/evaluation/<n>


def _model_classes(model: Path) -> list[str]:
    return list(read_model_json(model).classes) if (model / MODEL_JSON).is_file() else []
