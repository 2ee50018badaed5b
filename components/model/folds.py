"""Folds of patients: how many, whether there are patients enough, and whose images are in which."""

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

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
    """Rows to fit on and rows held out, as often as there are folds, all of about as many images.

    Patients with most images first, each goes into the fold that has fewest so far. Equal ones go
    by their names: on any machine and with any library the folds are the same, so that a training
    that goes on elsewhere has seen no patient it holds out (scikit-learn's GroupKFold sorts by
    NumPy's unstable sort, and splits otherwise from version to version).

    Args:
        patients: [N], whose each image is.
        folds: as many as there are patients where those are fewer.

    Raises:
        CxrflowError: all rows are of one patient.
    """
    _, patient_of, images = np.unique(patients, return_inverse=True, return_counts=True)
    count = min(folds, len(images))
    if count < 2:
        raise CxrflowError(
            "all images to fit on are of one patient, so that nothing can be cross-validated; give "
            "more data"
        )
    fold_of, sizes = np.empty(len(images), int), np.zeros(count, int)
    for patient in np.argsort(-images, kind="stable"):
        fold_of[patient] = sizes.argmin()
        sizes[fold_of[patient]] += images[patient]
    for fold in range(count):
        held_out = fold_of[patient_of] == fold
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)
