"""Fits the detector of what is no chest X-ray on a training's images.

What it looks at and why: docs/decisions/out-of-distribution.md.
"""

import logging

import numpy as np
from sklearn.covariance import LedoitWolf

from cxrflow.components.model.settings import OutOfDistributionConfig
from cxrflow.components.train.source import Inputs
from cxrflow.schema.model_json import OutOfDistribution
from cxrflow.schema.portable.out_of_distribution import Detector, features

logger = logging.getLogger(__name__)

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


def _features(images: Inputs, config: OutOfDistributionConfig) -> np.ndarray:
    """Features [n, K] of at most `config.images` images, spread evenly."""
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
