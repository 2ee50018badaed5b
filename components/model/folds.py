"""Folds of patients: how many, whether there are patients enough, and whose images are in which."""

from collections.abc import Iterator, Mapping, Sequence
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


def require_cases(
    patients: np.ndarray, labels: np.ndarray, classes: Sequence[str], folds: int
) -> None:
    """Raises CxrflowError where all patients with a class are in one fold, and nobody learns of it.

    It happens only where so few patients have classes in such combinations that no other folds were
    found. Arguments: see `patient_folds`; classes: the names.
    """
    cases = labels > 0
    for others, held_out in patient_folds(patients, labels, folds):
        for name, lost in zip(
            classes, cases[held_out].any(axis=0) & ~cases[others].any(axis=0), strict=True
        ):
            if lost:
                raise CxrflowError(
                    f"train.cross_fit {folds}: all patients with {name} fall into one fold; take "
                    "another number of folds or leave this class out of ingest.classes"
                )


def patient_folds(
    patients: np.ndarray, labels: np.ndarray, folds: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows held out, as often as there are folds.

    Patients of the rarest class are dealt out first, each into the fold that has fewest patients
    with this class, then with the patient's other classes, then fewest images; so the folds have
    about as many cases of each class and, as patients without a class come last, as many images.
    Equal patients go by their images, most first, and by their names: on any machine and with any
    library the folds are the same, so that a training that goes on elsewhere has seen no patient
    it holds out (scikit-learn's GroupKFold sorts by NumPy's unstable sort, and splits otherwise
    from version to version; its StratifiedGroupKFold takes one class).

    Args:
        patients: [N], whose each image is.
        labels: k-hot [N, C], NaN for unknown.
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
    has = np.zeros((len(images), labels.shape[1]), bool)
    np.logical_or.at(has, patient_of, labels > 0)
    fold_of = _dealt(images, has, count)
    for fold in range(count):
        held_out = fold_of[patient_of] == fold
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _dealt(images: np.ndarray, has: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each patient [P]; images: how many each has; has: their classes, bool [P, C]."""
    has = has[:, np.argsort(has.sum(axis=0), kind="stable")]  # rarest class first
    rarest = np.where(has.any(axis=1), has.argmax(axis=1), has.shape[1])
    fold_of, sizes = np.empty(len(images), int), [0] * folds
    cases = np.zeros((folds, has.shape[1]), int)  # patients with each class in each fold
    for patient in np.lexsort((-images, rarest)):  # a stable sort
        known = cases[:, has[patient]].tolist()
        fold = min(range(folds), key=lambda f: (known[f], sizes[f]))
        fold_of[patient] = fold
        cases[fold] += has[patient]
        sizes[fold] += int(images[patient])
    return fold_of
