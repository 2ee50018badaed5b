"""Fits the baselines; NumPy and scikit-learn only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from cxrflow.components.floor.settings import METADATA, PROBE, SHUFFLED
from cxrflow.components.model.calibration import fit as fit_calibration
from cxrflow.components.model.out_of_fold import rows_of
from cxrflow.components.model.probe import fit_probe
from cxrflow.components.score.files import OUT_OF_FOLD, Scores, Table

_SCORED = ("eval", "test")


@dataclass(frozen=True)
class Kind:
    """A baseline: what it sees of each image of each split, and what it learns."""

    name: str
    inputs: Mapping[str, np.ndarray]  # float [N, D], by split
    labels: np.ndarray  # k-hot [N, C], of what it learns from
    about: str


def kinds(
    features: Mapping[str, np.ndarray], images: Mapping[str, Table], about: str
) -> Iterator[Kind]:
    """The probe, metadata alone, and the probe with shuffled labels.

    Args:
        features: of the frozen network, [N, D] by split.
        images: by split.
        about: what the features are, in words.
    """
    labels = images[learned_split(images)].labels
    yield Kind(PROBE, features, labels, about)
    known = {split: metadata(table) for split, table in images.items()}
    yield Kind(METADATA, known, labels, "sex, age, age squared and view")
    shuffled = np.random.default_rng(0).permutation(labels)
    yield Kind(SHUFFLED, features, shuffled, f"{about}; labels shuffled among the images")


def learned_split(images: Mapping[str, Table]) -> str:
    """What the baselines learn from: train, or train and eval where they are cross-fitted."""
    return OUT_OF_FOLD if OUT_OF_FOLD in images else "train"


def fitted(
    kind: Kind,
    images: Mapping[str, Table],
    classes: Sequence[str],
    synthetic: bool,
    folds: int,
    strengths: Sequence[float],
) -> list[Scores]:
    """What a baseline says of eval and test, fitted to train and calibrated on its folds.

    Cross-fitted, it learns from eval too: its scores of train and eval are out of fold then.

    Args:
        kind: the baseline.
        images: by split.
        classes: names in the order of the labels.
        synthetic: the images are phantoms.
        folds: of the patients that it learns from.
        strengths: values of C to choose from.

    Raises:
        CxrflowError: features are not finite, or train has one patient.
    """
    learned = learned_split(images)
    patients = images[learned].patient_id
    if kind.name == SHUFFLED:  # nothing to choose by
        strengths = strengths[:1]
    probe = fit_probe(kind.inputs[learned], kind.labels, patients, folds=folds, strengths=strengths)
    calibration = fit_calibration(probe.out_of_fold, kind.labels)
    note = (
        f"{kind.about}: logistic regression, C = {probe.strength:g}, of "
        f"{', '.join(f'{c:g}' for c in strengths)} by {folds}-fold cross-validation over patients, "
        f"fitted to {len(kind.labels):,} training images"
    )
    logits_of = {split: probe.logits(kind.inputs[split]) for split in _SCORED}
    if learned == OUT_OF_FOLD:
        logits_of[OUT_OF_FOLD] = probe.out_of_fold
        rows = rows_of(images[learned].image_id, images["eval"].image_id)
        logits_of["eval"] = probe.out_of_fold[rows]
    found = []
    for split, logits in logits_of.items():
        probabilities = expit(calibration.log_odds(logits))
        found.append(
            Scores(
                kind.name,
                tuple(classes),
                split,
                synthetic,
                images[split],
                probabilities,
                logits,
                note,
            )
        )
    return found


def metadata(images: Table) -> np.ndarray:
    """What is known of a patient without the X-ray, float64 [N, 4]: age in decades.

    Who has no age counts as middle-aged, and an unknown sex or view as the other one of the two.
    """
    decades = np.where(images.age < 0, 5, images.age / 10)
    return np.stack([decades, decades**2, images.sex == "M", images.view == "AP"], axis=1).astype(
        np.float64
    )
