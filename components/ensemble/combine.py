"""Six ways of combining members, in NumPy; graph.py does the same inside TensorFlow.

Members speak in calibrated log-odds [M, N, C] (members, images, classes), and so does the ensemble:
log-odds [N, C] of the combined score. They hold where a probability is so near 0 or 1 that float32
couldn't tell it from its neighbours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from cxrflow.components.ensemble.settings import EnsembleConfig
from cxrflow.schema.labels import known_columns


@dataclass(frozen=True)
class Combination:
    """A method and what was fitted for it."""

    method: str  # mean, mean_logits, weighted, hard_vote, max_vote or stacked
    weights: np.ndarray  # [M], sum 1; what each member counts
    thresholds: np.ndarray | None = None  # hard_vote: log-odds from which a member votes, [M, C]
    coefficients: np.ndarray | None = None  # stacked: [M, C]
    intercepts: np.ndarray | None = None  # stacked: [C]

    @property
    def parameters(self) -> dict[str, Any]:
        """For model.json: members' thresholds are probabilities."""
        values: dict[str, Any] = {"method": self.method}
        if self.thresholds is not None:
            values["vote_thresholds"] = expit(self.thresholds).tolist()
        if self.coefficients is not None and self.intercepts is not None:
            values["coefficients"] = self.coefficients.tolist()
            values["intercepts"] = self.intercepts.tolist()
        return values


def fit(
    method: str, log_odds: np.ndarray, labels: np.ndarray, settings: EnsembleConfig
) -> Combination:
    """What `method` learns from labelled images; means and `max_vote` learn nothing.

    log_odds: [M, N, C]; labels: k-hot [N, C], of which unknown ones don't count.
    """
    members = len(log_odds)
    equal = np.full(members, 1 / members)
    if method == "weighted":
        return Combination(method, _fit_weights(log_odds, labels, settings.equal_weights_images))
    if method == "hard_vote":
        thresholds = [
            [_vote_threshold(x, y) for y, x, _ in known_columns(labels, member)]
            for member in log_odds
        ]
        return Combination(method, equal, thresholds=np.array(thresholds))
    if method == "stacked":
        coefficients, intercepts = _fit_stack(log_odds, labels, settings.stacking_c)
        sizes = np.abs(coefficients) / np.maximum(np.abs(coefficients).sum(axis=0), 1e-12)
        weights = sizes.mean(axis=1)
        weights = weights / weights.sum() if weights.sum() else equal
        return Combination(method, weights, coefficients=coefficients, intercepts=intercepts)
    return Combination(method, equal)


def score(combination: Combination, log_odds: np.ndarray) -> np.ndarray:
    """Log-odds [N, C] of the combined score of members' log-odds [M, N, C].

    - mean, weighted: of the (weighted) mean of probabilities
    - mean_logits: their mean; calibration has given members one scale
    - max_vote: of the highest probability
    - hard_vote: of the fraction of votes, (votes + 1/2) / (members + 1), since 0 and 1 have none
    - stacked: of the logistic regression
    """
    if combination.method == "mean_logits":
        return np.asarray(log_odds.mean(axis=0))
    if combination.method == "max_vote":
        return log_odds.max(axis=0)
    if combination.method == "hard_vote":
        assert combination.thresholds is not None
        votes = (log_odds >= combination.thresholds[:, None]).sum(axis=0)
        return np.log((votes + 0.5) / (len(log_odds) - votes + 0.5))
    if combination.method == "stacked":
        assert combination.coefficients is not None
        return np.einsum("mnc,mc->nc", log_odds, combination.coefficients) + combination.intercepts
    weights = combination.weights[:, None, None]
    return logsumexp(log_expit(log_odds), axis=0, b=weights) - logsumexp(
        log_expit(-log_odds), axis=0, b=weights
    )


def _fit_weights(log_odds: np.ndarray, labels: np.ndarray, equal_images: float) -> np.ndarray:
    """Weights of the lowest log-loss: it is convex in them, so that the optimum found is the one.

    The penalty, Kullback and Leibler's distance from equal weights, counts as `equal_images`
    images do.
    """
    members, images, _ = log_odds.shape
    known = ~np.isnan(labels)
    # Probability that each member gives to what is true, of all known labels [M, n].
    right = expit(np.where(labels > 0, log_odds, -log_odds))[:, known]
    right = np.maximum(right, 1e-12)
    strength = equal_images / images

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = weights @ right
        penalty = -strength * np.mean(np.log(members * weights))
        gradient = -(right / mixed).mean(axis=1) - strength / (members * weights)
        return -np.log(mixed).mean() + penalty, gradient

    found = minimize(
        loss,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(1e-6, 1)] * members,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": lambda weights: np.ones(members),
        },
        options={"ftol": 1e-10, "maxiter": 200},
    )
    return found.x / found.x.sum()


def _vote_threshold(log_odds: np.ndarray, labels: np.ndarray) -> float:
    """Youden's operating point (Cancer 1950), halfway to the next lower score of an image.

    There, no rounding can change an image's vote. Without positives or without negatives: 0, a
    probability of 1/2.
    """
    if not 0 < labels.sum() < len(labels):
        return 0.0
    false_rate, true_rate, thresholds = roc_curve(labels, log_odds, drop_intermediate=False)
    # The first point calls nothing positive.
    threshold = thresholds[1 + np.argmax((true_rate - false_rate)[1:])]
    lower = log_odds[log_odds < threshold]
    return float((threshold + lower.max()) / 2 if len(lower) else threshold - 1)


def _fit_stack(
    log_odds: np.ndarray, labels: np.ndarray, inverse_penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """One logistic regression a class; the members' mean where a class has one label only."""
    members, _, classes = log_odds.shape
    coefficients, intercepts = np.full((members, classes), 1 / members), np.zeros(classes)
    for c, (truth, known) in enumerate(known_columns(labels)):
        if 0 < truth.sum() < len(truth):
            model = LogisticRegression(C=inverse_penalty, max_iter=1000)
            model.fit(log_odds[:, known, c].T, truth > 0)
            coefficients[:, c], intercepts[c] = model.coef_[0], model.intercept_[0]
    return coefficients, intercepts
