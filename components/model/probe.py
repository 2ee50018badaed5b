"""A linear probe: logistic regression of each class on frozen features, folded to one layer.

Also the floor that a trained network has to beat (Alain and Bengio, arXiv 1610.01644). NumPy and
scikit-learn only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from cxrflow.components.model.folds import patient_folds
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.second_level import fit_second_level
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.scores import mean_auc

# C of scikit-learn, for standardised features whose sum of squares is 1 in the mean.
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_CONSTANT = 1e-6  # of a standard deviation: features that vary less tell nothing
# Of a fit: nearer to its end than scikit-learn's comes by default.
_END = {"maxiter": 1000, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
_RANK = 1e-10  # of the Gram matrix's largest eigenvalue: what is below is rounding


@dataclass(frozen=True)
class Probe:
    """Logits are features @ kernel + bias."""

    kernel: np.ndarray  # float32 [D, C], of features as they came, not standardised
    bias: np.ndarray  # float32 [C]
    strength: float  # C, of all classes
    out_of_fold: np.ndarray  # float32 [N, C], each image's by a probe fitted on other patients

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Returns float32 [n, C] of any images' features [n, D]."""
        found: np.ndarray = features.astype(np.float32) @ self.kernel + self.bias
        return found


def fit_probe(
    features: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    folds: int = 5,
    strengths: Sequence[float] = STRENGTHS,
    balanced: bool = True,
    second_level: bool = False,
) -> Probe:
    """L2-regularised logistic regression of each class, on standardised features.

    One strength for all classes, the one with the highest mean AUC out of fold (the smallest of
    equals): `out_of_fold` has seen this choice, and nothing else, of its patients. Mean and
    standard deviation are of all images. A class without positives or without negatives gets its
    prevalence as a constant. Unknown labels (NaN) are not learned from.

    Args:
        features: [N, D], finite.
        labels: k-hot [N, C].
        patients: [N]; no patient is in two folds.
        folds: of the cross-validation; as many as there are patients where those are fewer.
        strengths: to choose from, in rising order.
        balanced: positives and negatives of a class weigh the same in sum.
        second_level: each class learns from the logits of all; see `second_level`. Out of fold,
            what it learns from are logits of folds within the folds.

    Raises:
        CxrflowError: a feature is not finite, or all images are of one patient.
    """
    if not np.isfinite(features).all():
        raise CxrflowError("features of the frozen network are not finite: check its weights")
    mean, scale = _standard(features)
    turned, turn_back = _turned((features - mean) * scale)
    turned = turned.astype(np.float32)  # half as much to read
    splits = list(patient_folds(patients, labels, folds))
    found: tuple[float, float, np.ndarray] | None = None
    for strength, logits in zip(
        strengths, _out_of_fold(turned, labels, splits, strengths, balanced), strict=True
    ):
        auc = np.nan_to_num(mean_auc(per_class_auc(labels, logits)))  # no class may have one
        if found is None or auc > found[0]:
            found = auc, strength, logits
    assert found is not None, "no strength to choose from"
    _, strength, logits = found
    (weights,), (bias,) = _fit(turned, labels, [strength], balanced)
    if second_level:
        second = fit_second_level(logits, labels)
        weights, bias = weights @ second.matrix, second.apply(bias)
        for others, held_out in splits:
            x, y = turned[others], labels[others]
            within = list(patient_folds(patients[others], y, folds))
            (inner,) = _out_of_fold(x, y, within, [strength], balanced)
            second = fit_second_level(inner, y)
            logits[held_out] = second.apply(logits[held_out])
    kernel = scale[:, None] * (turn_back @ weights)
    return Probe(
        kernel.astype(np.float32),
        (bias - mean @ kernel).astype(np.float32),
        strength,
        logits.astype(np.float32),
    )


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and factor [D] that standardise, and make the mean sum of squares 1."""
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    varying = deviation > _CONSTANT * max(deviation.max(), np.finfo(float).tiny)
    scale = np.zeros_like(deviation)
    scale[varying] = 1 / (deviation[varying] * np.sqrt(varying.sum()))
    return mean, scale


def _turned(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`x` [N, D] in at most N dimensions, and the matrix [D, n] that takes weights back.

    A turn of the axes changes nothing for an L2 penalty; the Gram matrix finds one that leaves
    out the directions in which no image differs.
    """
    images, dimensions = x.shape
    if dimensions <= images:
        return x, np.eye(dimensions)
    values, vectors = np.linalg.eigh(x @ x.T)
    kept = values > _RANK * max(values[-1], np.finfo(float).tiny)
    lengths = np.sqrt(values[kept])
    return vectors[:, kept] * lengths, x.T @ (vectors[:, kept] / lengths)


def _out_of_fold(
    x: np.ndarray,
    labels: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    strengths: Sequence[float],
    balanced: bool,
) -> np.ndarray:
    """Logits [S, N, C] of S strengths, each image's by a fit to other patients."""
    logits = np.empty((len(strengths), *labels.shape))
    for others, held_out in splits:
        weights, bias = _fit(x[others], labels[others], strengths, balanced)
        logits[:, held_out] = x[held_out] @ weights + bias[:, None]
    return logits


def _fit(
    x: np.ndarray, labels: np.ndarray, strengths: Sequence[float], balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [S, d, C] and biases [S, C]; each strength starts from the one before.

    All classes at once: what takes the time is reading `x`.
    """
    known = ~np.isnan(labels)
    images = known.sum(axis=0)
    yes, no = np.where(known, labels, 0.0), np.where(known, 1.0 - labels, 0.0)
    prevalence = (yes.sum(axis=0) + 0.5) / (images + 1)
    weights = np.zeros((len(strengths), x.shape[1], labels.shape[1]))
    bias = np.tile(np.log(prevalence / (1 - prevalence)), (len(strengths), 1))
    classes = np.flatnonzero(yes.any(axis=0) & no.any(axis=0))  # of others nothing can be fitted
    if not len(classes):
        return weights, bias
    yes, no, images = yes[:, classes], no[:, classes], images[classes]
    if balanced:
        yes, no = (images * side / (2 * side.sum(axis=0)) for side in (yes, no))
    found = np.concatenate([weights[0][:, classes], bias[:1, classes]])
    for s, strength in enumerate(strengths):
        found = _lowest_loss(found, x, yes / images, no / images, 1 / (strength * images))
        weights[s][:, classes], bias[s, classes] = found[:-1], found[-1]
    return weights, bias


def _lowest_loss(
    start: np.ndarray, x: np.ndarray, yes: np.ndarray, no: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """Weights and, in the last row, biases [d + 1, C] of logistic regression.

    A class's loss is the log-loss of its images, positive with weight `yes` and negative with `no`,
    [N, C] each, and half its `penalty` [C] times its squared weights. What the search turns is
    each weight times the root of the loss's curvature along it, as it is where all probabilities
    are 1/2: with axes that `_turned` found, ten steps do what takes a hundred without.
    """
    curvature = 0.25 * (np.square(x, dtype=np.float64).T @ (yes + no)) + penalty
    scale = np.sqrt(np.concatenate([curvature, np.full((1, len(penalty)), 0.25)]))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(start.shape) / scale
        weights = both[:-1]
        z = (x @ weights.astype(x.dtype)).astype(np.float64) + both[-1]
        probability = expit(z)
        cost = np.sum(yes * np.logaddexp(0, -z) + no * np.logaddexp(0, z))
        error = no * probability - yes * (1 - probability)
        gradient = np.concatenate(
            [x.T @ error.astype(x.dtype) + penalty * weights, error.sum(axis=0)[None]]
        )
        return cost + np.sum(penalty * weights**2) / 2, (gradient / scale).ravel()

    found = minimize(loss, (start * scale).ravel(), jac=True, method="L-BFGS-B", options=_END)
    lowest: np.ndarray = found.x.reshape(start.shape) / scale
    return lowest
