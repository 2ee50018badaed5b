"""Expected calibration error."""

import math

import numpy as np

BINS = 15  # Guo et al., "On Calibration of Modern Neural Networks", ICML 2017
ENOUGH = 2 * BINS  # examples; with a bin for each, the distance is that of a coin from its odds


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> float:
    """Mean distance between probability and frequency, over bins of equally many examples.

    Bins of equal width would put nearly every image of a rare class into the first one; with equal
    mass each has the same say (Nixon et al., "Measuring Calibration in Deep Learning", CVPR
    workshops 2019). Equal probabilities share a bin, so that the order of examples is of no matter.

    Args:
        labels: [N], 0 or 1.
        probabilities: [N], in 0..1.
        bins: at most so many, fewer where there are fewer distinct probabilities.

    Returns:
        0 (right) to 1; NaN without examples or where a probability is NaN.
    """
    y = np.asarray(labels, np.float64)
    p = np.asarray(probabilities, np.float64)
    if not len(p) or np.isnan(p).any():
        return math.nan
    _, sums, hits = bin_sums(y, p, bins)
    return float(np.abs(sums - hits).sum() / len(p))


def ece_by_chance(probabilities: np.ndarray, bins: int = BINS) -> float:
    """The ECE to be expected of probabilities [N] that are right, as the images are so few.

    Its mean over labels that are drawn by these probabilities, each on its own: exact, as a bin's
    number of positives is Poisson's binomial. Patients with several images make it larger. NaN
    without probabilities or where one is NaN.
    """
    p = np.asarray(probabilities, np.float64)
    if not len(p) or np.isnan(p).any():
        return math.nan
    of_bin = np.searchsorted(np.unique(equal_mass_edges(p, bins)), p)
    distance = 0.0
    for number in np.unique(of_bin):
        inside = p[of_bin == number]
        positives = np.ones(1)  # the chance of each number of them
        for one in inside:
            positives = np.convolve(positives, [1 - one, one])
        distance += positives @ np.abs(np.arange(len(positives)) - inside.sum())
    return float(distance / len(p))


def bin_sums(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples, sum of probabilities and sum of labels of each of the bins, empty ones included.

    Labels and probabilities are [N], N > 0.
    """
    edges = np.unique(equal_mass_edges(probabilities, bins))
    of_bin = np.searchsorted(edges, probabilities)
    counts, sums, hits = (
        np.bincount(of_bin, weights=weights, minlength=len(edges) + 1)
        for weights in (np.ones(len(labels)), probabilities, labels)
    )
    return counts, sums, hits


def equal_mass_edges(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """Upper bounds, inclusive, of all bins but the last: [bins - 1], rising, equal ones possible.

    probabilities: [N], N > 0.
    """
    return np.quantile(probabilities, np.arange(1, bins) / bins, method="inverted_cdf")
