"""TFMA's plots of each class, exact and small: from the rows that the scores are computed from.

TFMA's own ConfusionMatrixPlot and CalibrationPlot sort probabilities into 10,000 buckets a class
and slice, which takes 5 to 9 times the Evaluator's time; here a curve is its corners alone.

The reported AUPRC is average precision, the area under the precision-recall curve as steps: up to
the recall of a threshold, from that of the next higher one, precision is that of the threshold
(scikit-learn's average_precision_score). Straight lines, and corners of the ROC curve alone, would
enclose another area. So the corners here are those of both curves.
"""

import heapq
from typing import TypeAlias

import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.metrics.binary_confusion_matrices import Matrices
from tensorflow_model_analysis.metrics.calibration_plot import CALIBRATION_PLOT_NAME
from tensorflow_model_analysis.metrics.confusion_matrix_plot import CONFUSION_MATRIX_PLOT_NAME
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import (
    CalibrationHistogramBuckets,
    ConfusionMatrixAtThresholds,
)

from cxrflow.components.evaluate.ece import BINS, bin_sums, equal_mass_edges

CURVE_POINTS = 100  # corners that are never too many
CURVE_ERROR = 1e-3  # of the area of both curves, where corners are left out
_BELOW_ALL = -1e-6  # TFMA's lowest threshold: every probability exceeds it

Plot: TypeAlias = ConfusionMatrixAtThresholds | CalibrationHistogramBuckets


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
    labels: np.ndarray,
    probabilities: np.ndarray,
    points: int = CURVE_POINTS,
    error: float = CURVE_ERROR,
) -> ConfusionMatrixAtThresholds:
    """Counts at the corners of the ROC and the precision-recall curve, by rising threshold.

    Straight between these points lies the ROC curve, in steps the precision-recall curve. Of more
    than `points` corners, as many are left out as can be without the areas between both curves and
    what the rest draws, all together, exceeding `error`.

    Labels and probabilities are [N]. An example counts as positive above a threshold, as in TFMA.
    """
    values, of_value = np.unique(probabilities, return_inverse=True)
    positives = np.bincount(of_value, weights=labels, minlength=len(values))
    negatives = np.bincount(of_value, minlength=len(values)) - positives
    # Rejected at each threshold: none below the lowest value, all at the highest.
    fn, tn = (np.concatenate([[0.0], np.cumsum(counts)]) for counts in (positives, negatives))
    tp, fp = fn[-1] - fn, tn[-1] - tn
    thresholds = np.concatenate([[_BELOW_ALL], values])
    kept = _corners(tp, fp)
    if len(kept) > points:
        kept = kept[_thinned(tp[kept], fp[kept], error)]
    columns = (column[kept].tolist() for column in (thresholds, tp, tn, fp, fn))
    return Matrices(*columns).to_proto().confusion_matrix_at_thresholds


def calibration_buckets(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> CalibrationHistogramBuckets:
    """Sums of labels [N] and probabilities [N] in the bins of `expected_calibration_error`.

    Bins of equal width, as in TFMA, would hold nearly all images of a rare class in the first.
    """
    counts, sums, hits = bin_sums(labels, probabilities, bins)
    bounds = [-np.inf, *np.unique(equal_mass_edges(probabilities, bins)), np.inf]
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


def _corners(tp: np.ndarray, fp: np.ndarray) -> np.ndarray:
    """Indices of the corners of both curves, ends included; counts [T] by rising threshold."""
    dtp, dfp = np.diff(tp), np.diff(fp)
    turns = np.zeros(len(tp), bool)  # of the ROC curve
    turns[[0, -1]] = True
    turns[1:-1] = dfp[1:] * dtp[:-1] != dfp[:-1] * dtp[1:]
    # A step ends wherever a positive is lost, and is one with its neighbour of the same precision.
    ends = np.flatnonzero(dtp)
    precision = tp[ends] / (tp[ends] + fp[ends])
    turns[ends[1:][np.diff(precision) != 0]] = True
    return np.flatnonzero(turns)


def _thinned(tp: np.ndarray, fp: np.ndarray, error: float) -> np.ndarray:
    """Indices of the points that draw both curves within an area of `error`, ends included.

    Always halves the part that is drawn worst where half of its error lies to either side.
    """
    recall, fpr = tp / tp[0], fp / fp[0]
    precision = tp / np.maximum(tp + fp, 1)

    def errors(a: int, b: int) -> np.ndarray:
        """Area between the curves and their drawing, by the steps from point a to point b."""
        left, right = slice(a, b), slice(a + 1, b + 1)
        in_steps = (recall[left] - recall[right]) * abs(precision[left] - precision[a])
        slope = (recall[a] - recall[b]) / (fpr[a] - fpr[b]) if fpr[a] > fpr[b] else 0.0
        below = recall[a : b + 1] - recall[b] - slope * (fpr[a : b + 1] - fpr[b])
        return in_steps + (fpr[left] - fpr[right]) * abs(below[:-1] + below[1:]) / 2

    def part(a: int, b: int) -> tuple[float, int, int, int]:
        summed = np.cumsum(errors(a, b))
        middle = a + 1 + int(np.searchsorted(summed, summed[-1] / 2))
        return -float(summed[-1]), a, min(max(middle, a + 1), b - 1), b

    kept, parts = [0, len(tp) - 1], [part(0, len(tp) - 1)]
    total = -parts[0][0]
    while parts and total > error:
        worst, a, middle, b = heapq.heappop(parts)
        total += worst
        kept.append(middle)
        for piece in ((a, middle), (middle, b)):
            if piece[1] - piece[0] > 1:
                heapq.heappush(parts, found := part(*piece))
                total -= found[0]
    return np.sort(kept)
