"""Area under the ROC curve of k-hot predictions."""

import numpy as np
from sklearn.metrics import roc_auc_score

from cxrflow.schema.labels import known_columns


def per_class_auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Exact AUC of each class over the images of which it is known, float64 [C]; NaN where a class
    has no positive or no negative.

    labels: k-hot [N, C]; scores: [N, C], any monotone function of the probability.
    """
    return np.array(
        [
            roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else np.nan
            for truth, score, _ in known_columns(labels, scores)
        ]
    )


def binary_crossentropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean over the known labels of all images and classes, in nats."""
    return float(np.nanmean(np.logaddexp(0.0, logits) - labels * logits))
