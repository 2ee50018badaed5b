"""What becomes of a split at a class's operating points."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cxrflow.components.evaluate.statistics.draws import Draws, Estimate, estimate
from cxrflow.components.score.files import Scores
from cxrflow.pipeline.reports.dashboard.predictions import DRAWS
from cxrflow.schema.model_json import ModelJson

# Names of model.json's operating points, and what they were chosen for.
POINTS = {
    "youden": "Youden: highest sensitivity + specificity",
    "sensitivity": "set for sensitivity",
    "specificity": "set for specificity",
}


@dataclass(frozen=True)
class Counts:
    """Images by what the model calls them and what they are; rates with intervals."""

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate  # positive predictive value

    @property
    def false_rate(self) -> float:
        """False positive rate."""
        return 1 - self.specificity.value


def thresholds(info: ModelJson | None, name: str) -> dict[str, float]:
    """A class's thresholds by operating point; empty where the model has none."""
    if info is None:
        return {}
    found = {point: info.threshold(name, point) for point in POINTS}
    return {point: value for point, value in found.items() if value is not None}


def point_words(info: ModelJson | None, name: str, point: str) -> str:
    """What an operating point was chosen for, as people say it."""
    of_class = (info.thresholds.get(name) or {}) if info else {}
    target = (of_class.get(point) or {}).get("target", math.nan)
    if math.isnan(target):
        return POINTS[point]
    return f"{target:.0%} {point} on eval"


def counts_at(
    read: Scores, place: int, points: Mapping[str, float], draws: Draws | None = None
) -> dict[str, Counts]:
    """Counts of the class at `place` by point, of the images of which it is known; an image is
    positive from the threshold on. `draws` are of all images.
    """
    known = read.known(place)
    draws = (draws or Draws.of(read.images.patient_id, DRAWS)).within(known)
    truth = read.images.labels[known, place] > 0
    found = {}
    for point, threshold in points.items():
        called = read.probabilities[known, place] >= threshold
        found[point] = Counts(
            threshold,
            int((called & truth).sum()),
            int((called & ~truth).sum()),
            int((~called & truth).sum()),
            int((~called & ~truth).sum()),
            rate(called, truth, draws),
            rate(~called, ~truth, draws),
            rate(truth, called, draws),
        )
    return found


def rate(hits: np.ndarray, among: np.ndarray, draws: Draws) -> Estimate:
    """Share of the images `among` that are `hits` too, with its interval; masks [N]."""
    if not among.any():
        return Estimate()
    return estimate(draws.within(among).means(hits[among].astype(np.float64)))
