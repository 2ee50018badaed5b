"""One model's figures of every class on every draw of a split's patients."""

from dataclasses import dataclass

import numpy as np

from cxrflow.components.evaluate.statistics.auc import drawn_aucs
from cxrflow.components.evaluate.statistics.calibration import drawn_brier, drawn_ece
from cxrflow.components.evaluate.statistics.draws import Draws
from cxrflow.components.score.files import Scores
from cxrflow.schema.labels import known_columns


@dataclass(frozen=True)
class Figures:
    """Each [C, 1 + draws], the first column on the images as they are; NaN where there is none."""

    auc: np.ndarray
    ece: np.ndarray
    brier: np.ndarray

    @classmethod
    def of(cls, scores: Scores, draws: Draws) -> "Figures":
        """Computes the figures of scores whose images are those of the draws."""
        of_class = [
            (truth, probabilities, draws.within(known))
            for truth, probabilities, known in known_columns(
                scores.images.labels, scores.probabilities
            )
        ]
        return cls(
            drawn_aucs(scores.images.labels, scores.probabilities, draws),
            np.array([drawn_ece(*one) for one in of_class]),
            np.array([drawn_brier(*one) for one in of_class]),
        )

    def by_metric(self) -> dict[str, np.ndarray]:
        """The arrays by the names of `limits.Metric`."""
        return {"auc": self.auc, "ece": self.ece, "brier": self.brier}


def patients_with(labels: np.ndarray, patients: np.ndarray, value: int) -> np.ndarray:
    """Patients of whom an image has label `value`, of each class: int [C].

    labels: k-hot [N, C]; patients: [N].
    """
    return np.array([len(np.unique(patients[truth == value])) for truth in labels.T], int)


def fewest_patients(labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """The rarer of patients with and without each class, int [C]; see `patients_with`."""
    fewest: np.ndarray = np.minimum(
        patients_with(labels, patients, 1), patients_with(labels, patients, 0)
    )
    return fewest
