"""Area under the ROC curve, on many draws of patients at once."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cxrflow.components.evaluate.statistics.draws import CONFIDENCE, Draws, Estimate
from cxrflow.schema.labels import known_columns

_BLOCK = 1 << 19  # values of the largest table that is held at once, 4 MB: what caches hold


def drawn_auc(positive: np.ndarray, scores: np.ndarray, draws: Draws) -> np.ndarray:
    """The AUC on each draw, float64 [1 + draws]; NaN where a draw lacks positives or negatives.

    The weight of the pairs (positive, negative) that are ranked right, ties by half, over that of
    all pairs (Hanley and McNeil, Radiology 143, 1982), which is the AUC by mid-ranks. Weights are
    whole numbers, so that every draw's AUC is exact.

    One sort for all draws: what lies between two neighbouring scores of positives counts together,
    and images of one patient do, so that a draw costs two products with sparse matrices.

    Args:
        positive: bool [N].
        scores: [N], any monotone function of the probability; with a NaN there is no AUC.
        draws: of the same N images.
    """
    columns = draws.times.shape[1]
    if not positive.any() or positive.all() or not np.isfinite(scores).all():
        return np.full(columns, np.nan)
    levels, level = np.unique(scores[positive], return_inverse=True)
    others = scores[~positive]
    # Row 2 k: negatives between the levels k - 1 and k; row 2 k + 1: those at level k.
    row = np.searchsorted(levels, others, "left") + np.searchsorted(levels, others, "right")
    rows = 2 * len(levels) + 1
    negatives = _by_patient(row, draws.of_image[~positive], rows, len(draws.times))
    positives = _by_patient(level, draws.of_image[positive], len(levels), len(draws.times))
    step = max(1, _BLOCK // rows)
    found = []
    for start in range(0, columns, step):
        times = np.ascontiguousarray(draws.times[:, start : start + step])
        of_negatives, of_positives = negatives @ times, positives @ times
        up_to = np.cumsum(of_negatives, axis=0)
        below = up_to[1::2] - of_negatives[1::2] / 2
        pairs = of_positives.sum(axis=0) * up_to[-1]
        with np.errstate(invalid="ignore"):
            found.append(np.einsum("ld,ld->d", of_positives, below) / pairs)
    return np.concatenate(found)


def drawn_aucs(labels: np.ndarray, scores: np.ndarray, draws: Draws) -> np.ndarray:
    """Returns float64 [C, 1 + draws], each class's AUCs by k-hot labels and scores [N, C].

    Each is of the images whose label is known, on draws of all patients.
    """
    return np.array(
        [
            drawn_auc(truth > 0, score, draws.within(known))
            for truth, score, known in known_columns(labels, scores)
        ]
    )


@dataclass(frozen=True)
class _Placements:
    """The share of the other images against which each image with a label is ranked right."""

    sums: np.ndarray  # [P], over a patient's images, less the AUC for each of them
    patients: int  # with such images
    images: int


def clustered_delong(positive: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> Estimate:
    """The AUC and DeLong's interval (Biometrics 44, 1988), with patients as clusters.

    Obuchowski's variance (Biometrics 53, 1997); with one image a patient it is DeLong's own.

    Args:
        positive: bool [N].
        scores: [N].
        patients: [N], of any type that sorts.
    """
    from scipy.stats import norm, rankdata

    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative or not np.isfinite(scores).all():
        return Estimate()
    names, of_image = np.unique(patients, return_inverse=True)
    ranks = rankdata(scores)
    placements = np.empty(len(scores))
    placements[positive] = (ranks[positive] - rankdata(scores[positive])) / n_negative
    placements[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / n_positive
    auc = float(placements[positive].mean())

    def of(mask: np.ndarray) -> _Placements:
        centred = np.where(mask, placements - auc, 0.0)
        sums = np.bincount(of_image, weights=centred, minlength=len(names))
        return _Placements(sums, len(np.unique(of_image[mask])), int(mask.sum()))

    yes, no = of(positive), of(~positive)
    if yes.patients < 2 or no.patients < 2:
        return Estimate(auc)
    variance = 2 * len(names) / (len(names) - 1) * (yes.sums @ no.sums) / (yes.images * no.images)
    for side in (yes, no):
        variance += side.patients / (side.patients - 1) * (side.sums @ side.sums) / side.images**2
    half = norm.isf((1 - CONFIDENCE) / 2) * np.sqrt(max(0.0, variance))
    return Estimate(auc, float(max(0.0, auc - half)), float(min(1.0, auc + half)))


def _by_patient(row: np.ndarray, patient: np.ndarray, rows: int, patients: int) -> sparse.csr_array:
    """How many images of each patient lie in each row, [rows, patients]."""
    ones = np.ones(len(row))
    return sparse.csr_array(sparse.coo_array((ones, (row, patient)), shape=(rows, patients)))
