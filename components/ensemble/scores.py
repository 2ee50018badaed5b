"""What members and their ensemble say about each image, from predictions that were made anyway."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.special import expit

from cxrflow.components.ensemble.combine import score
from cxrflow.components.ensemble.compare import FITTED, Method, Predictions
from cxrflow.components.ensemble.settings import ENSEMBLE, EnsembleSettings
from cxrflow.components.model.calibration import Calibration
from cxrflow.components.model.out_of_fold import rows_of
from cxrflow.components.score.files import OUT_OF_FOLD, Scores, Table

CROSS_FITTED = "on eval, each image by a combination fitted on other patients"
NOTE = "on eval, by members fitted on other patients"


def all_scores(
    names: Sequence[str],
    asked: Mapping[str, Predictions],
    known: Predictions,
    method: Method,
    calibration: Calibration,
    settings: EnsembleSettings,
    learned: Table | None = None,
) -> Iterator[list[Scores]]:
    """Each member's scores of eval and test, then the ensemble's.

    Args:
        names: the members', in the order of the predictions.
        asked: what the members say, by split, with `images`.
        known: what chose the method: of eval at least, out of fold where members were cross-fitted;
            see `honest`. Scores of eval are these.
        method: the one that is exported; where it learns from eval, the ensemble's eval scores are
            the cross-fitted ones.
        calibration: the ensemble's.
        settings: the classes.
        learned: train and eval, where all members were cross-fitted: scores of these images out of
            fold are written too.
    """
    images = {split: found.images for split, found in asked.items()}
    on_eval = images["eval"]
    assert on_eval is not None and known.image_id is not None
    rows = rows_of(known.image_id, on_eval.image_id)
    members = {"eval": known.log_odds[:, rows], "test": asked["test"].log_odds}
    combined = {
        "eval": method.eval_log_odds[rows],
        "test": score(method.combination, asked["test"].log_odds),
    }
    if learned is not None:
        images[OUT_OF_FOLD] = learned
        rows = rows_of(known.image_id, learned.image_id)
        members[OUT_OF_FOLD] = known.log_odds[:, rows]
        combined[OUT_OF_FOLD] = method.eval_log_odds[rows]
    out_of_fold = NOTE if known is not asked["eval"] else ""
    fitted = len(names) > 1 and method.combination.method in FITTED

    def scores(
        name: str, split: str, probabilities: np.ndarray, logits: np.ndarray | None, note: str
    ) -> Scores:
        table = images[split]
        assert table is not None
        classes, synthetic = settings.classes, settings.synthetic
        return Scores(name, classes, split, synthetic, table, probabilities, logits, note)

    for i, name in enumerate(names):
        yield [
            scores(name, split, expit(found[i]), None, out_of_fold)
            for split, found in members.items()
        ]
    note = "; ".join(filter(None, (out_of_fold, CROSS_FITTED if fitted else "")))
    yield [
        scores(ENSEMBLE, split, calibration.apply(found), found, note)
        for split, found in combined.items()
    ]
