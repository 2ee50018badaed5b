"""Calibration error and Brier score on many draws of patients at once."""

import numpy as np

from cxrflow.components.evaluate.ece import BINS, equal_mass_edges
from cxrflow.components.evaluate.statistics.draws import Draws


def drawn_ece(
    labels: np.ndarray, probabilities: np.ndarray, draws: Draws, bins: int = BINS
) -> np.ndarray:
    """`ece.expected_calibration_error` on each draw, [1 + draws], in the bins of all images.

    Args:
        labels: [N], 0 or 1.
        probabilities: [N], in 0..1; with a NaN there is no ECE.
        draws: of the same N images.
        bins: at most so many.
    """
    p = np.asarray(probabilities, np.float64)
    if not len(p) or not np.isfinite(p).all():
        return np.full(draws.times.shape[1], np.nan)
    edges = np.unique(equal_mass_edges(p, bins))
    of_bin = np.searchsorted(edges, p)
    gaps = np.zeros((len(edges) + 1, len(draws.times)))
    np.add.at(gaps, (of_bin, draws.of_image), p - labels)
    with np.errstate(invalid="ignore"):
        return np.abs(gaps @ draws.times).sum(axis=0) / draws.sums(np.ones(len(p)))


def drawn_brier(labels: np.ndarray, probabilities: np.ndarray, draws: Draws) -> np.ndarray:
    """Mean squared error of one class (Brier, Mon. Weather Rev. 78, 1950) on each draw."""
    return draws.means((np.asarray(probabilities, np.float64) - labels) ** 2)
