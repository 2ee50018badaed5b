"""Folds of patients: how many, whether there are patients enough, and whose images are in which."""

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from sklearn.model_selection import GroupKFold

from cxrflow.schema.errors import CxrflowError

CROSS_FIT_IMAGES = 10_000  # up to which cross_fit auto cross-fits; more patients choose well enough
FOLDS = 5  # of auto, and to choose a probe's strength without cross-fitting


def cross_fit_folds(cross_fit: int | Literal["auto"], images: int) -> int:
    """How many folds a recipe's `cross_fit` means; 0: none. images: of train and eval."""
    if cross_fit == "auto":
        return FOLDS if images <= CROSS_FIT_IMAGES else 0
    return cross_fit


def require_patients(cases: Mapping[str, int], folds: int) -> None:
    """Raises CxrflowError where a class has cases, but of fewer patients than there are folds.

    cases: patients with each class in train and eval, by the classes' names.
    """
    few = {name: count for name, count in cases.items() if 0 < count < folds}
    if few:
        named = ", ".join(f"{name} {count}" for name, count in few.items())
        raise CxrflowError(
            f"train.cross_fit {folds}: every class needs cases of at least {folds} patients in "
            f"train and eval, there are: {named}; lower cross_fit or leave these classes out of "
            "ingest.classes"
        )


def patient_folds(patients: np.ndarray, folds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows held out, `folds` times; the same for the same patients, in order.

    Raises CxrflowError where all rows are of one patient.
    """
    count = min(folds, len(np.unique(patients)))
    if count < 2:
        raise CxrflowError(
            "all images to fit on are of one patient, so that nothing can be cross-validated; give "
            "more data"
        )
    yield from GroupKFold(count).split(patients, groups=patients)
