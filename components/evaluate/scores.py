"""How well the probabilities of one class rank and match its labels."""

import math

import numpy as np
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrflow.components.evaluate.ece import expected_calibration_error


def class_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Scores of one class over N examples; NaN where a score is undefined.

    Args:
        labels: [N], 0 or 1.
        probabilities: [N], in 0..1; a NaN makes every score but the counts NaN.

    Returns:
        `positives`, `negatives`: counts. `auc`: area under the ROC curve, exact, NaN without
        positives or negatives. `auc_precision_recall`: average precision, NaN without positives.
        `mean_label`, `mean_prediction`, and their ratio `calibration` (1 is right; TFMA's
        definition). `brier_score`: mean squared error (Brier 1950). `prediction_range`: highest
        minus lowest probability; 0 means that the model says the same about every image.
    """
    y = np.asarray(labels, np.float64)
    p = np.asarray(probabilities, np.float64)
    positives = int(y.sum())
    negatives = len(y) - positives
    finite = len(y) > 0 and bool(np.isfinite(p).all())
    ranked = finite and positives > 0 and negatives > 0
    mean_prediction = float(p.mean()) if finite else math.nan
    return {
        "positives": float(positives),
        "negatives": float(negatives),
        "auc": float(roc_auc_score(y, p)) if ranked else math.nan,
        "auc_precision_recall": (
            float(average_precision_score(y, p)) if finite and positives else math.nan
        ),
        "mean_label": float(y.mean()) if len(y) else math.nan,
        "mean_prediction": mean_prediction,
        "calibration": mean_prediction / float(y.mean()) if positives else math.nan,
        "brier_score": float(np.mean((p - y) ** 2)) if finite else math.nan,
        "prediction_range": float(np.ptp(p)) if finite else math.nan,
    }


def calibration_scores(
    labels: np.ndarray, probabilities: np.ndarray, logits: np.ndarray
) -> dict[str, float]:
    """How much a model's calibration brings one class over N examples; NaN where undefined.

    Args:
        labels: [N], 0 or 1.
        probabilities: [N], calibrated, in 0..1.
        logits: [N], log-odds before calibration.

    Returns:
        `ece`, of the probabilities, `ece_uncalibrated` and `brier_score_uncalibrated`.
    """
    finite = len(labels) > 0 and bool(np.isfinite([probabilities, logits]).all())
    before = expit(np.asarray(logits, np.float64))
    return {
        "ece": expected_calibration_error(labels, probabilities) if finite else math.nan,
        "ece_uncalibrated": expected_calibration_error(labels, before) if finite else math.nan,
        "brier_score_uncalibrated": float(np.mean((before - labels) ** 2)) if finite else math.nan,
    }
