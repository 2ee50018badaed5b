"""Sums of scores that every side forms alike.

Standard library only, and imports none of its neighbours: the device has it as a copied file.
"""

import math
from typing import Iterable


def mean_auc(aucs: Iterable[float]) -> float:
    """Mean over the classes that have an AUC, those whose AUC isn't NaN; NaN if none has."""
    known = [auc for auc in aucs if math.isfinite(auc)]
    return math.fsum(known) / len(known) if known else math.nan
