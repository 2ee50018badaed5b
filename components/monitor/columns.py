"""The features by which what is asked is compared with the training: one column each."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.special import logit

from cxrflow.schema.audit import Decision
from cxrflow.schema.features import AGE, SEX, UNKNOWN, UNKNOWN_AGE, VIEW

IMAGE_MEAN = "image/mean"  # gray levels of the 8-bit picture, 0 to 255
IMAGE_DEVIATION = "image/standard_deviation"
SCORE = "score/"  # and a class: calibrated log-odds
NAMES = (SEX, VIEW)

# Log-odds beyond this, probabilities of 5e-5, differ by what no image shows.
_MOST = 10.0
_SEXES = ("F", "M")
_VIEWS = ("AP", "PA")
_OTHER = "other"

# Numbers are float64 [N] with NaN where nothing is known, names are text [N].
Columns = Mapping[str, np.ndarray]


def is_score(name: str) -> bool:
    """Whether a feature is a class's score."""
    return name.startswith(SCORE)


def class_of(name: str) -> str:
    """The class of a score's feature."""
    return name.removeprefix(SCORE)


def title_of(name: str) -> str:
    """A feature as people call it."""
    plain = {
        IMAGE_MEAN: "mean gray level",
        IMAGE_DEVIATION: "spread of gray levels",
        AGE: "age",
        SEX: "sex",
        VIEW: "view",
    }
    return plain.get(name) or f"score of {class_of(name).replace('_', ' ')}"


def score_columns(probabilities: np.ndarray, classes: Sequence[str]) -> Columns:
    """Calibrated probabilities [N, C] as features; on log-odds rare classes spread too."""
    with np.errstate(divide="ignore"):
        found = np.clip(logit(np.asarray(probabilities, np.float64)), -_MOST, _MOST)
    return {f"{SCORE}{name}": column for name, column in zip(classes, found.T, strict=True)}


def people_columns(ages: Iterable[int], sexes: Iterable[str], views: Iterable[str]) -> Columns:
    """Columns of training examples' people: years, UNKNOWN_AGE for none."""
    years = np.array([*ages], np.float64)
    return {
        AGE: np.where(years == UNKNOWN_AGE, np.nan, years),
        SEX: _named(sexes, _SEXES),
        VIEW: _named(views, _VIEWS),
    }


def asked_columns(decisions: Sequence[Decision], classes: Sequence[str]) -> Columns:
    """Columns of a log's decisions; what one doesn't know is NaN, or the name for unknown."""
    nothing = UNKNOWN_AGE
    people = people_columns(
        (nothing if one.age is None else one.age for one in decisions),
        (one.sex or UNKNOWN for one in decisions),
        (one.view or UNKNOWN for one in decisions),
    )
    images = [one.image for one in decisions]
    measured = {
        IMAGE_MEAN: [np.nan if image is None else image.mean for image in images],
        IMAGE_DEVIATION: [
            np.nan if image is None else image.standard_deviation for image in images
        ],
    }
    scores = np.array(
        [[one.scores.get(name, np.nan) for name in classes] for one in decisions], np.float64
    ).reshape(len(decisions), len(classes))
    return {
        **{name: np.array(values, np.float64) for name, values in measured.items()},
        **people,
        **score_columns(scores, classes),
    }


def _named(values: Iterable[str], known: Sequence[str]) -> np.ndarray:
    return np.array(
        [value if value in (*known, UNKNOWN) else _OTHER for value in values], dtype=object
    )
