"""Calibration of one model's log-odds, class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.labels import known_columns

# Standard deviation of the prior of log(slope), about 0: it weighs as much as some four positives,
# so that a class of three keeps a slope near 1 and one of a hundred doesn't feel it.
SLOPE_PRIOR = 0.5


@dataclass(frozen=True)
class Calibration:
    """Calibrated log-odds are slope × logits + intercept."""

    slope: np.ndarray  # [C], above 0, so that every class keeps its order
    intercept: np.ndarray  # [C]

    @classmethod
    def identity(cls, classes: int) -> "Calibration":
        """The one that changes nothing."""
        return cls(np.ones(classes), np.zeros(classes))

    @classmethod
    def from_json(
        cls, values: Mapping[str, Mapping[str, float]], classes: Sequence[str]
    ) -> "Calibration":
        """From model.json's `calibration`, in the order of `classes`."""
        rows = [values[name] for name in classes]
        return cls(*(np.array([row[key] for row in rows]) for key in ("slope", "intercept")))

    def to_json(self, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """As model.json's `calibration` holds it, by class."""
        return {
            name: {"slope": float(slope), "intercept": float(intercept)}
            for name, slope, intercept in zip(classes, self.slope, self.intercept, strict=True)
        }

    def log_odds(self, logits: Any) -> Any:
        """Calibrated log-odds of logits [..., C], an array or a float32 tensor."""
        return logits * self.slope.astype(np.float32) + self.intercept.astype(np.float32)

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of logits [..., C]."""
        return expit(self.log_odds(logits))


def calibrate(method: str, logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """By `method`: "platt" is `fit`, "none" changes nothing."""
    return Calibration.identity(labels.shape[1]) if method == "none" else fit(logits, labels)


def fit(logits: np.ndarray, labels: np.ndarray, slope_prior: float = SLOPE_PRIOR) -> Calibration:
    """Platt scaling of each class (Platt, "Probabilistic Outputs for Support Vector Machines",
    1999), with his smoothed targets and a prior that keeps the slope near 1 where data are few.

    A class without positives or without negatives has nothing to be fitted to and stays as it is;
    unknown labels count as neither.

    Args:
        logits: [N, C], finite.
        labels: k-hot [N, C].
        slope_prior: standard deviation of log(slope), about 0.

    Raises:
        CxrflowError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise CxrflowError(
            "a model's logits are not finite and can't be calibrated; train it anew with a lower "
            "train.learning_rate"
        )
    pairs = [
        _fit_class(x.astype(np.float64), y > 0, slope_prior)
        for y, x, _ in known_columns(labels, logits)
    ]
    slope, intercept = np.array(pairs).reshape(-1, 2).T
    return Calibration(slope, intercept)


def _fit_class(x: np.ndarray, positive: np.ndarray, slope_prior: float) -> tuple[float, float]:
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return 1.0, 0.0
    targets = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre = x.mean()  # slope and height at the centre hardly depend on each other
    centred = x - centre

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_slope, height = parameters
        slope = np.exp(log_slope)
        z = slope * centred + height
        loss = np.sum(np.logaddexp(0, z) - targets * z) + (log_slope / slope_prior) ** 2 / 2
        error = expit(z) - targets
        by_slope = np.sum(error * centred) * slope + log_slope / slope_prior**2
        return loss, np.array([by_slope, error.sum()])

    # Starting from "no change", which the fit can't be worse than.
    found = minimize(
        objective, [0.0, centre], jac=True, method="L-BFGS-B", bounds=[(-7, 7), (None, None)]
    )
    log_slope, height = found.x
    slope = float(np.exp(log_slope))
    return slope, float(height - slope * centre)
