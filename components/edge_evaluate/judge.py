"""What a variant must keep of its source to be blessed."""

import math

import numpy as np

from components.edge_evaluate.parity import Difference, PairedBootstrap
from components.edge_evaluate.report import ClassParity, VariantReport
from components.edge_export.settings import EdgeConfig

# Judged by their ranking, as weights of 8 bits move every probability; all others by difference.
QUANTIZED = ("litert_dynamic", "litert_int8")
_ROUNDING = 1e-6  # by which a probability may leave 0..1


def kind_of(key: str) -> str:
    """How a variant is judged: "float" or "quantized"."""
    return "quantized" if key in QUANTIZED else "float"


def judge(
    key: str,
    file: str,
    size: int,
    probabilities: np.ndarray,
    source: PairedBootstrap,
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
        classes: names, in the order of the columns.
        config: what is allowed.
    """
    if reason := _no_probabilities(probabilities):
        return VariantReport(file, size, kind_of(key), (reason,))
    found = source.compare(probabilities)
    mean = found.mean_auc
    if kind_of(key) == "float":
        reason = _too_different(found.max_difference, config.max_difference)
    elif math.isnan(mean.change):
        reason = (
            "no class has positives and negatives among the eval images, so that no AUC can tell "
            "what quantization costs: give more data"
        )
    else:
        reason = _too_lossy(mean, config.max_auc_loss)
    return VariantReport(
        file,
        size,
        kind_of(key),
        reasons=(reason,) if reason else (),
        max_difference=found.max_difference,
        mean_difference=found.mean_difference,
        mean=_reported(mean),
        classes={name: _reported(auc) for name, auc in zip(classes, found.aucs, strict=True)},
    )


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
    if -mean.change <= allowed:
        return ""
    return f"mean AUC {-mean.change:.4f} below its source's, {allowed:g} allowed"


def _reported(auc: Difference) -> ClassParity:
    if math.isnan(auc.change):
        return ClassParity(None, None, None, None)
    return ClassParity(auc.source, auc.variant, auc.change, auc.interval)
