"""Is it a chest X-ray at all? The detector that a model's graph carries, fitted on its images.

What it looks at and why: docs/decisions/out-of-distribution.md.
"""

import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from sklearn.covariance import LedoitWolf

from cxrflow.components.model.settings import OutOfDistributionConfig
from cxrflow.components.train.source import Inputs
from cxrflow.schema.model_json import OutOfDistribution
from cxrflow.schema.portable.out_of_distribution import (
    LEAST,
    STATISTICS,
    Detector,
    cells,
    features,
)

logger = logging.getLogger(__name__)

OUTPUT = "out_of_distribution"
# A feature that (nearly) never varies in training, such as a black margin's, would count without
# bound: standard deviations count as this much at least, in the units of `features`.
_LEAST_DEVIATION = 0.02
# A detector, and what model.json says of it; two None where the model has none.
Fitted = tuple[Detector, OutOfDistribution] | tuple[None, None]


def fit(train: Inputs, evaluation: Inputs, config: OutOfDistributionConfig) -> Fitted:
    """Fits a detector on stored training images and its threshold on those of eval.

    Neither, and a word in the log, where it is switched off, or where the images don't tell what is
    usual.
    """
    if not config.enabled:
        return None, None
    known, unseen = (_features(images, config) for images in (train, evaluation))
    if reason := _refusal(known, config):
        logger.warning("the model won't tell what is no chest X-ray: %s", reason)
        return None, None
    detector = fit_detector(known, config.grid)
    scores = detector.distances(unseen)
    threshold = threshold_of(scores, config.quantile)
    return detector, OutOfDistribution(threshold, config.quantile, len(known), len(unseen))


def fit_detector(known: np.ndarray, grid: int) -> Detector:
    """From `features` [N, K] of training images, with a covariance that Ledoit and Wolf's rule
    shrinks (2004), so that it can be inverted however few they are.
    """
    center = known.mean(axis=0, dtype=np.float64)
    scale = np.maximum(known.std(axis=0, dtype=np.float64), _LEAST_DEVIATION)
    precision = LedoitWolf(assume_centered=True).fit((known - center) / scale).precision_
    whitening = np.linalg.cholesky(precision) / scale[:, None]
    return Detector(grid, center.astype(np.float32), whitening.astype(np.float32))


def threshold_of(scores: np.ndarray, quantile: float) -> float:
    """The score [N] that at most a share of 1 - quantile of them are above."""
    return float(np.quantile(scores, quantile, method="higher"))


def scorer(detector: Detector) -> Callable[[tf.Tensor], tf.Tensor]:
    """`Detector.scores` in TensorFlow, of pixels float32 [N, S, S, 3], 0-255, R = G = B: [N]."""

    def score(pixels: tf.Tensor) -> tf.Tensor:
        gray = pixels[..., 0]
        size = gray.shape[1]
        whole, steps = cells(size, detector.grid), cells(size - 1, detector.grid)
        inside = (whole > 0).astype(np.float32)

        def pooled(rows: np.ndarray, values: tf.Tensor, columns: np.ndarray) -> tf.Tensor:
            return tf.matmul(tf.matmul(rows, values), columns, transpose_b=True)

        mean = pooled(whole, gray, whole)
        apart = gray - pooled(inside.T, mean, inside.T)
        right = tf.abs(gray[:, :, 1:] - gray[:, :, :-1])
        below = tf.abs(gray[:, 1:] - gray[:, :-1])
        found = tf.stack(
            [
                mean / 255.0,
                tf.math.log(tf.sqrt(pooled(whole, apart * apart, whole)) + LEAST),
                tf.math.log(pooled(whole, right, steps) + LEAST),
                tf.math.log(pooled(steps, below, whole) + LEAST),
            ],
            axis=-1,
        )
        flat = tf.reshape(found, [-1, detector.grid * detector.grid * STATISTICS])
        return tf.reduce_sum(tf.matmul(flat - detector.center, detector.whitening) ** 2, axis=1)

    return score


def _features(images: Inputs, config: OutOfDistributionConfig) -> np.ndarray:
    """Of at most `config.images`, spread evenly: [n, K]."""
    count = min(len(images), config.images)
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    batches = (images.take(chosen[i : i + 256])[..., 0] for i in range(0, count, 256))
    return np.concatenate([features(batch, config.grid) for batch in batches])


def _refusal(known: np.ndarray, config: OutOfDistributionConfig) -> str:
    if len(known) < config.min_images:
        return (
            f"{len(known)} training images are too few, out_of_distribution.min_images is "
            f"{config.min_images}"
        )
    if not np.ptp(known, axis=0).any():
        return "all training images are the same"
    return ""
