"""TFMA's plots of each class, exact and small: from the rows that the scores are computed from.

TFMA's own ConfusionMatrixPlot and CalibrationPlot sort probabilities into 10,000 buckets a class
and slice, which takes 5 to 9 times the Evaluator's time; here a curve is its corners alone.
"""

import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.metrics.binary_confusion_matrices import Matrices
from tensorflow_model_analysis.metrics.calibration_plot import CALIBRATION_PLOT_NAME
from tensorflow_model_analysis.metrics.confusion_matrix_plot import CONFUSION_MATRIX_PLOT_NAME
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import (
    CalibrationHistogramBuckets,
    ConfusionMatrixAtThresholds,
)

from components.evaluate.ece import BINS, equal_mass_edges

CURVE_POINTS = 100  # finer than a screen shows
_BELOW_ALL = -1e-6  # TFMA's lowest threshold: every probability exceeds it

Plot = ConfusionMatrixAtThresholds | CalibrationHistogramBuckets


def class_plots(
    labels: np.ndarray, probabilities: np.ndarray, class_id: int, model_name: str
) -> dict[metric_types.PlotKey, Plot]:
    """The plots of one class over N examples, as TFMA's writer takes them.

    Args:
        labels: [N], 0 or 1.
        probabilities: [N], in 0..1.
        class_id: the class's index.
        model_name: TFMA's name of the model.

    Returns:
        Confusion matrices (ROC and precision-recall curve), where there are positives and
        negatives, and calibration buckets. Nothing where a probability isn't finite or N is 0.
    """

    def key(name: str) -> metric_types.PlotKey:
        sub_key = metric_types.SubKey(class_id=class_id)
        return metric_types.PlotKey(name=name, model_name=model_name, sub_key=sub_key)

    if not len(labels) or not np.isfinite(probabilities).all():
        return {}
    plots: dict[metric_types.PlotKey, Plot] = {
        key(CALIBRATION_PLOT_NAME): calibration_buckets(labels, probabilities)
    }
    if 0 < labels.sum() < len(labels):
        plots[key(CONFUSION_MATRIX_PLOT_NAME)] = confusion_matrices(labels, probabilities)
    return plots


def confusion_matrices(
    labels: np.ndarray, probabilities: np.ndarray, points: int = CURVE_POINTS
) -> ConfusionMatrixAtThresholds:
    """Counts at the corners of the ROC curve, at most `points` of them, by rising threshold.

    Labels and probabilities are [N]. An example counts as positive above a threshold, as in TFMA.
    """
    values, of_value = np.unique(probabilities, return_inverse=True)
    positives = np.bincount(of_value, weights=labels, minlength=len(values))
    negatives = np.bincount(of_value, minlength=len(values)) - positives
    # Rejected at each threshold: none below the lowest value, all at the highest.
    fn, tn = (np.concatenate([[0.0], np.cumsum(counts)]) for counts in (positives, negatives))
    corners = _corners(tn, fn, points)
    thresholds = np.concatenate([[_BELOW_ALL], values])[corners]
    fn, tn = fn[corners], tn[corners]
    tp, fp = labels.sum() - fn, negatives.sum() - tn
    matrices = Matrices(*(list(map(float, found)) for found in (thresholds, tp, tn, fp, fn)))
    return matrices.to_proto().confusion_matrix_at_thresholds


def calibration_buckets(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> CalibrationHistogramBuckets:
    """Sums of labels [N] and probabilities [N] in the bins of `expected_calibration_error`.

    Bins of equal width, as in TFMA, would hold nearly all images of a rare class in the first.
    """
    edges = np.unique(equal_mass_edges(probabilities, bins))
    of_bin = np.searchsorted(edges, probabilities)
    counts, sums, hits = (
        np.bincount(of_bin, weights=weights, minlength=len(edges) + 1)
        for weights in (np.ones_like(probabilities), probabilities, labels)
    )
    bounds = [-np.inf, *edges, np.inf]
    plot = CalibrationHistogramBuckets()
    for i in np.flatnonzero(counts):
        plot.buckets.add(
            lower_threshold_inclusive=bounds[i],
            upper_threshold_exclusive=bounds[i + 1],
            num_weighted_examples={"value": counts[i]},
            total_weighted_refined_prediction={"value": sums[i]},
            total_weighted_label={"value": hits[i]},
        )
    return plot


def _corners(x: np.ndarray, y: np.ndarray, most: int) -> np.ndarray:
    """Indices of the points of a curve that its straight parts end in, ends included."""
    dx, dy = np.diff(x), np.diff(y)
    turns = np.flatnonzero(dx[1:] * dy[:-1] != dx[:-1] * dy[1:]) + 1
    corners = np.concatenate([[0], turns, [len(x) - 1]])
    if len(corners) > most:
        corners = corners[np.linspace(0, len(corners) - 1, most).round().astype(int)]
    return corners
