"""What a variant must keep of its source to be blessed."""

import math

import numpy as np

from cxrflow.components.edge.export.settings import EdgeConfig
from cxrflow.components.edge.export.variants import QUANTIZED, max_decision_change
from cxrflow.components.edge.parity.decisions import Decided, Decisions
from cxrflow.components.edge.parity.parity import Difference, PairedBootstrap
from cxrflow.components.edge.parity.report import ClassParity, DecisionParity, VariantReport

_ROUNDING = 1e-6  # by which a probability may leave 0..1


def kind_of(key: str) -> str:
    """How a variant is judged: "quantized", by what a user sees, or "float", by difference."""
    return "quantized" if key in QUANTIZED else "float"


def judge(
    key: str,
    file: str,
    size: int,
    probabilities: np.ndarray,
    source: PairedBootstrap,
    decisions: Decisions,
    classes: list[str],
    config: EdgeConfig,
) -> VariantReport:
    """A variant's report and verdict.

    Args:
        key: the variant's.
        file: its name in the bundle.
        size: of the file, bytes.
        probabilities: float32 [N, C] of the images that `source` knows.
        source: what the variant is compared with.
        decisions: the same, for its decisions.
        classes: names, in the order of the columns.
        config: what is allowed.
    """
    if reason := _no_probabilities(probabilities):
        return VariantReport(file, size, kind_of(key), (reason,))
    found = source.compare(probabilities)
    mean = found.mean_auc
    limit = max_decision_change(key, config)
    decided = decisions.compare(probabilities, may_fit=limit is not None)
    if limit is None:
        reasons = [_too_different(found.max_difference, config.max_difference)]
    else:
        reasons = [
            *_decides_otherwise(decided, limit, config.max_class_decision_change),
            _too_lossy(mean, config.max_auc_loss),
        ]
    return VariantReport(
        file,
        size,
        kind_of(key),
        reasons=tuple(reason for reason in reasons if reason),
        max_difference=found.max_difference,
        mean_difference=found.mean_difference,
        mean=_reported(mean),
        classes={name: _reported(auc) for name, auc in zip(classes, found.aucs, strict=True)},
        points=decided.points,
        thresholds=decided.thresholds,
        max_decision_change=limit,
    )


def _decides_otherwise(decided: Decided, allowed: float, of_class: float) -> list[str]:
    """Reasons, the worst point's first, then the worst class's."""
    if not decided.points:
        return ["the model has no thresholds, so that nothing tells what a user would see"]
    reasons = []
    point, worst = max(decided.points.items(), key=lambda item: item[1].total.share)
    if worst.total.share > allowed:
        reasons.append(
            f"{_percent(worst.total)} of its decisions aren't its source's at the operating point"
            f" {point}, {100 * allowed:g} % allowed"
        )
    classes = [
        (one.share, name, point)
        for point, found in decided.points.items()
        for name, one in found.classes.items()
    ]
    share, name, point = max(classes)
    if share > of_class:
        change = decided.points[point].classes[name]
        reasons.append(
            f"{_percent(change)} of its decisions about {name} aren't its source's at the operating"
            f" point {point}, {100 * of_class:g} % allowed"
        )
    return reasons


def _percent(change: DecisionParity) -> str:
    return f"{100 * change.share:.2f} % ({change.changed} of {change.decisions})"


def _no_probabilities(answers: np.ndarray) -> str:
    finite = np.isfinite(answers).all(axis=1)
    if not finite.all():
        return f"{np.sum(~finite)} of {len(answers)} answers aren't finite"
    low, high = float(answers.min()), float(answers.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        return f"it gives {low:.4g} to {high:.4g}, which are no probabilities"
    return ""


def _too_different(largest: float, allowed: float) -> str:
    if largest <= allowed:
        return ""
    return f"a probability {largest:.2g} from its source's, {allowed:g} allowed"


def _too_lossy(mean: Difference, allowed: float) -> str:
    if math.isnan(mean.change):
        return (
            "no class has positives and negatives among the eval images, so that no AUC can tell "
            "what quantization costs: give more data"
        )
    if -mean.change <= allowed:
        return ""
    return f"mean AUC {-mean.change:.4f} below its source's, {allowed:g} allowed"


def _reported(auc: Difference) -> ClassParity:
    if math.isnan(auc.change):
        return ClassParity(None, None, None, None)
    return ClassParity(auc.source, auc.variant, auc.change, auc.interval)
