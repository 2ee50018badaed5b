"""How far a variant's probabilities are from its source's, and what that does to the AUCs."""

import math
from dataclasses import dataclass

import numpy as np

from cxrflow.components.evaluate.statistics.auc import drawn_aucs
from cxrflow.components.evaluate.statistics.draws import Draws, estimate, mean_of

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

    Both models are scored on the same draws, and the interval is that of the difference; see
    `statistics.draws`. A draw without positives or negatives of a class says nothing of that class,
    and counts in the mean with the classes that it has.
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
        self._draws = Draws.of(patients, draws, seed)
        self._source_aucs = self._aucs(source)

    def compare(self, variant: np.ndarray) -> Parity:
        """A variant's probabilities [N, C], finite, in the order of the source's."""
        variant_aucs = self._aucs(variant)
        apart = np.abs(variant.astype(np.float64) - self._source)
        return Parity(
            max_difference=float(apart.max()),
            mean_difference=float(apart.mean()),
            mean_auc=_difference(mean_of(self._source_aucs), mean_of(variant_aucs)),
            aucs=tuple(
                _difference(*pair) for pair in zip(self._source_aucs, variant_aucs, strict=True)
            ),
        )

    def _aucs(self, scores: np.ndarray) -> np.ndarray:
        """[C, 1 + draws]: on the images as they are, and on each draw."""
        return drawn_aucs(self._labels, scores, self._draws)


def _difference(source: np.ndarray, variant: np.ndarray) -> Difference:
    """From AUCs [1 + draws], the first of which is on the images as they are."""
    return Difference(float(source[0]), float(variant[0]), interval_of(variant - source))


def interval_of(drawn: np.ndarray) -> Interval | None:
    """The interval of a figure [1 + draws]; None where there is none."""
    found = estimate(drawn)
    return None if math.isnan(found.low) else (found.low, found.high)
