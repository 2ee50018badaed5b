"""How far age, sex and view alone come, class by class, beside the model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.card.figures import Scores
from cxrflow.components.evaluate.scores import class_scores
from cxrflow.components.floor.settings import METADATA
from cxrflow.components.score.files import read_scores, scored_models
from cxrflow.schema.labels import known_columns


@dataclass(frozen=True)
class Shortcut:
    """One class on the split that decides."""

    name: str
    metadata: float | None  # AUC of age, sex and view; None where it is undefined
    model: float | None


def shortcuts(baselines: Path, split: str, of_model: Sequence[Scores]) -> tuple[Shortcut, ...]:
    """The AUCs of metadata alone beside those of the model.

    Args:
        baselines: folder of the baselines' scores; without metadata's there is nothing.
        split: the one that the model's scores are of.
        of_model: the model's, by class.

    Raises:
        CxrflowError: a file can't be read.
    """
    if METADATA not in scored_models(baselines):
        return ()
    found = read_scores(baselines, METADATA, split)
    of_class = known_columns(found.images.labels, found.probabilities)
    aucs = {
        name: class_scores(truth, probabilities)["auc"]
        for name, (truth, probabilities, _) in zip(found.classes, of_class, strict=True)
    }
    return tuple(Shortcut(one.name, _known(aucs.get(one.name)), one.auc) for one in of_model)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
