"""What the logits of all classes tell of each: a linear layer over a probe's logits.

Findings come together or exclude each other, and a class of few cases is learned badly. Each
class's calibrated log-odds are corrected by a ridge regression on those of all classes: with the
strongest penalty nothing changes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from cxrflow.components.model import calibration
from cxrflow.schema.labels import known_columns

# Of half the squared weights, with inputs of unit variance, against a sum over images: as if each
# weight had been seen to be 0 to within .1. Of 10, 30, 100 and 300, by nested cross-validation.
_PENALTY = 100.0
_LEAST = 0.1  # standard deviation of log-odds: a class without cases has none


@dataclass(frozen=True)
class SecondLevel:
    """Logits [N, C] become logits @ matrix + bias."""

    matrix: np.ndarray  # float64 [C, C]
    bias: np.ndarray  # float64 [C]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Logits [N, C] -> [N, C]."""
        found: np.ndarray = logits @ self.matrix + self.bias
        return found


def fit_second_level(logits: np.ndarray, labels: np.ndarray) -> SecondLevel:
    """Fits it to logits [N, C] of images from which they weren't learned, and k-hot labels [N, C].

    Unknown labels (NaN) don't count. A class without positives or without negatives stays as it is.
    """
    first = calibration.fit(logits, labels)
    log_odds = logits * first.slope + first.intercept
    mean, deviation = log_odds.mean(axis=0), np.maximum(log_odds.std(axis=0), _LEAST)
    inputs = (log_odds - mean) / deviation
    correction = np.zeros((logits.shape[1],) * 2)
    for c, (truth, own, known) in enumerate(known_columns(labels, log_odds)):
        if 0 < truth.sum() < len(truth):
            correction[:, c] = _fit_class(inputs[known], own, truth)
    # Back on the scale of the logits: what calibration adds depends on how frequent a class is in
    # these folds, and would set images of others apart.
    correction /= deviation[:, None] * first.slope
    return SecondLevel(
        np.eye(len(mean)) + first.slope[:, None] * correction,
        (first.intercept - mean) @ correction,
    )


def _fit_class(inputs: np.ndarray, own: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Weights [C] of what is added to a class's own log-odds [n]; calibration finds the height."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z = own + inputs @ weights
        gradient = inputs.T @ (expit(z) - truth) + _PENALTY * weights
        return np.sum(np.logaddexp(0, z) - truth * z) + _PENALTY / 2 * weights @ weights, gradient

    start = np.zeros(inputs.shape[1])
    found: np.ndarray = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return found
