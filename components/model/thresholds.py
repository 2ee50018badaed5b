"""Operating points: from which probability on an image counts as a case of a class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from cxrflow.schema.labels import known_columns


def operating_points(
    labels: np.ndarray, probabilities: np.ndarray, sensitivity: float, specificity: float
) -> dict[str, dict[str, float] | None] | None:
    """Thresholds of one class; an image is called positive if probability >= threshold.

    - `youden`: highest sensitivity + specificity - 1 (Youden, Cancer 1950); among equals the
      highest threshold
    - `sensitivity`: the highest threshold that reaches the target
    - `specificity`: the lowest threshold that reaches the target; None if only calling no image
      positive does

    Args:
        labels: [N], 0 or 1.
        probabilities: [N], calibrated.
        sensitivity: target, 0..1.
        specificity: target, 0..1.

    Returns:
        `threshold` (one of the probabilities), `sensitivity` and `specificity` of each point, and
        `target` of the last two; None without positives or without negatives.
    """
    negatives = int(len(labels) - np.sum(labels))
    if not 0 < negatives < len(labels):
        return None
    # The first threshold, infinity, calls nothing positive.
    false_rate, true_rate, thresholds = (
        column[1:] for column in roc_curve(labels, probabilities, drop_intermediate=False)
    )
    # From counts: 1 - .9 isn't .1.
    true_negative_rate = (negatives - np.round(false_rate * negatives)) / negatives

    def point(index: int, **more: float) -> dict[str, float]:
        return {
            "threshold": float(thresholds[index]),
            "sensitivity": float(true_rate[index]),
            "specificity": float(true_negative_rate[index]),
            **more,
        }

    specific = np.flatnonzero(true_negative_rate >= specificity)
    return {
        "youden": point(int(np.argmax(true_rate + true_negative_rate))),
        "sensitivity": point(int(np.argmax(true_rate >= sensitivity)), target=sensitivity),
        "specificity": point(int(specific[-1]), target=specificity) if len(specific) else None,
    }


def class_thresholds(
    classes: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    sensitivity: float,
    specificity: float,
) -> dict[str, Any]:
    """`operating_points` of every class, as model.json's `thresholds` holds them.

    labels: k-hot [N, C], of which unknown ones don't count; probabilities: [N, C].
    """
    return {
        name: operating_points(y, p, sensitivity, specificity)
        for name, (y, p, _) in zip(classes, known_columns(labels, probabilities), strict=True)
    }
