"""How far age, sex and view alone come, class by class, beside the model.

A folder of scores holds `<model>/scores.json`, which names the classes, and `<model>/<split>.npz`
with `labels` (k-hot [N, C]) and `probabilities` ([N, C]).
"""

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrflow.components.card.figures import Scores
from cxrflow.components.evaluate.scores import class_scores
from cxrflow.schema.errors import CxrflowError

METADATA = "metadata"  # the baseline's name


@dataclass(frozen=True)
class Shortcut:
    """One class on the split that decides."""

    name: str
    metadata: float | None  # AUC of age, sex and view; None where it is undefined
    model: float | None


def shortcuts(baselines: Path, split: str, of_model: Sequence[Scores]) -> tuple[Shortcut, ...]:
    """The AUCs of metadata alone beside those of the model.

    Args:
        baselines: folder of scores of the run's baselines; without metadata's there is nothing.
        split: the one that the model's scores are of.
        of_model: the model's, by class.

    Raises:
        CxrflowError: a file can't be read.
    """
    folder = baselines / METADATA
    if not folder.is_dir():
        return ()
    try:
        names = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["classes"]
        with np.load(folder / f"{split}.npz", allow_pickle=False) as arrays:
            labels, probabilities = arrays["labels"], arrays["probabilities"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CxrflowError(f"the scores in {folder} can't be read ({error})") from None
    aucs = {
        name: class_scores(labels[:, i], probabilities[:, i])["auc"] for i, name in enumerate(names)
    }
    return tuple(Shortcut(one.name, _known(aucs.get(one.name)), one.auc) for one in of_model)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
