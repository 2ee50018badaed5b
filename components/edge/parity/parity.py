"""How far a variant's probabilities are from its source's, and what that does to the AUCs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cxrflow.schema.portable.scores import mean_auc

INTERVAL = 0.95  # share of the bootstrap's differences inside an interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A variant's AUC against its source's; NaN and no interval where there is no AUC."""

    source: float
    variant: float
    interval: Interval | None  # of variant - source

    @property
    def change(self) -> float:
        """Negative where the variant ranks worse."""
        return self.variant - self.source


@dataclass(frozen=True)
class Parity:
    """A variant against its source on the same images."""

    max_difference: float  # of a probability
    mean_difference: float  # absolute, over all images and classes
    mean_auc: Difference  # of the classes that have an AUC
    aucs: tuple[Difference, ...]  # by class


class PairedBootstrap:
    """Compares variants with one source on the same images and the same draws of patients.

    A patient's images resemble each other, so that patients are drawn, with replacement, and all
    images of one come along as often as the patient was drawn (cluster bootstrap; Field and Welsh,
    J. R. Stat. Soc. B 69, 2007). Both models are scored on the same draw, and the interval is the
    percentile interval of the difference (Efron and Tibshirani, An Introduction to the Bootstrap,
    1993). A draw without positives or negatives of a class says nothing of that class, and counts
    in the mean with the classes that it has.
    """

    def __init__(
        self,
        labels: np.ndarray,
        patients: np.ndarray,
        source: np.ndarray,
        draws: int,
        seed: int = 0,
    ):
        """Scores the source.

        Args:
            labels: k-hot [N, C].
            patients: [N], of any type that sorts.
            source: probabilities [N, C], finite.
            draws: how many times patients are drawn.
            seed: of the draws.
        """
        self._labels, self._source = labels, source
        self._weights = patient_draws(patients, draws, seed)
        self._source_aucs = self._aucs(source)

    def compare(self, variant: np.ndarray) -> Parity:
        """A variant's probabilities [N, C], finite, in the order of the source's."""
        variant_aucs = self._aucs(variant)
        apart = np.abs(variant.astype(np.float64) - self._source)
        return Parity(
            max_difference=float(apart.max()),
            mean_difference=float(apart.mean()),
            mean_auc=_difference(_mean(self._source_aucs), _mean(variant_aucs)),
            aucs=tuple(
                _difference(*pair) for pair in zip(self._source_aucs, variant_aucs, strict=True)
            ),
        )

    def _aucs(self, scores: np.ndarray) -> np.ndarray:
        """[C, 1 + draws]: on the images as they are, and on each draw."""
        return np.array(
            [
                weighted_auc(truth > 0, score, self._weights)
                for truth, score in zip(self._labels.T, scores.T, strict=True)
            ]
        )


def patient_draws(patients: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """How often each image counts: float32 [1 + draws, N], the first row once each.

    A row draws as many patients as there are, with replacement.
    """
    names, of_image = np.unique(patients, return_inverse=True)
    equal = np.full(len(names), 1 / len(names))
    times = np.random.default_rng(seed).multinomial(len(names), equal, size=draws)
    once = np.ones((1, len(names)), np.int64)
    return np.concatenate([once, times])[:, of_image].astype(np.float32)


def weighted_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for many weightings of the same examples at once.

    The weight of the pairs (positive, negative) that are ranked right, ties by half, over that of
    all pairs (Hanley and McNeil, Radiology 143, 1982).

    Args:
        positive: bool [N].
        scores: [N], finite.
        weights: [W, N], 0 or more.

    Returns:
        float64 [W]; NaN where positives or negatives have no weight.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # of each run of equal scores
    right, pairs = [], []
    for chunk in _rows(weights):
        sorted_weights = chunk[:, order].astype(np.float64)
        of_positives = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
        of_negatives = np.add.reduceat(sorted_weights * ~positive[order], starts, axis=1)
        below = np.cumsum(of_negatives, axis=1) - of_negatives / 2
        right.append(np.einsum("wg,wg->w", of_positives, below))
        pairs.append(of_positives.sum(axis=1) * of_negatives.sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.concatenate(right) / np.concatenate(pairs)


def _rows(weights: np.ndarray, values: int = 1 << 22) -> Iterator[np.ndarray]:
    """Some rows at a time, so that memory stays small however many images there are."""
    step = max(1, values // weights.shape[1])
    for start in range(0, len(weights), step):
        yield weights[start : start + step]


def _mean(aucs: np.ndarray) -> np.ndarray:
    """Over the classes, [C, W] -> [W]; NaN where no class has an AUC."""
    return np.array([mean_auc(column) for column in aucs.T])


def _difference(source: np.ndarray, variant: np.ndarray) -> Difference:
    """From AUCs [1 + draws], the first of which is on the images as they are."""
    interval = interval_of((variant - source)[1:]) if np.isfinite(source[0]) else None
    return Difference(float(source[0]), float(variant[0]), interval)


def interval_of(drawn: np.ndarray) -> Interval | None:
    """The middle of what was found on draws [D], NaN left out; None if nothing was."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return None
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
