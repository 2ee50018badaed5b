"""Labels of which nothing is known: NaN in a k-hot [N, C]; see docs/decisions/unknown-labels.md.

A class is fitted to, and judged by, the images whose label of it is known. `known_columns` hands
out exactly those, so that what is computed of one class needs no mask.
"""

from collections.abc import Iterator

import numpy as np


def known_columns(labels: np.ndarray, *others: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields each class's known labels, its columns of the others, and the rows they are of.

    Args:
        labels: k-hot [N, C].
        others: each [N, C].

    Yields:
        Labels [n], each other's values [n], and a mask [N] with n True, for the images whose label
        is known.
    """
    for c in range(labels.shape[1]):
        known = ~np.isnan(labels[:, c])
        yield labels[known, c], *(other[known, c] for other in others), known


def shares(labels: np.ndarray) -> np.ndarray:
    """Each class's share of the images of which it is known, float64 [C]; NaN where of none.

    labels: k-hot [N, C].
    """
    known = (~np.isnan(labels)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = np.nansum(labels, axis=0, dtype=np.float64) / known
    return found
