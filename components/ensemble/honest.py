"""Predictions that members are compared by: none of a model that has learned from the patient."""

from collections.abc import Sequence

import numpy as np

from cxrflow.components.ensemble.compare import Predictions
from cxrflow.components.ensemble.members import Member
from cxrflow.components.model.out_of_fold import OutOfFold, read_out_of_fold
from cxrflow.schema.errors import CxrflowError


def cross_fitted(members: Sequence[Member]) -> bool:
    """Whether all were, so that `honest_predictions` doesn't need what they say of eval now."""
    return all(read_out_of_fold(member.folder) is not None for member in members)


def honest_predictions(members: Sequence[Member], asked: Predictions) -> tuple[Predictions, str]:
    """What chooses and calibrates an ensemble, and a note on it, empty where that is `asked`.

    Where every member was cross-fitted, these are their out-of-fold scores of train and eval.
    Where some were, these members' scores of eval are taken from there.

    Args:
        members: in the order of the predictions.
        asked: what the members themselves say of eval, with the images' names; NaN will do where
            all are `cross_fitted`.

    Raises:
        CxrflowError: cross-fitted members were scored on different images.
    """
    scored = [read_out_of_fold(member.folder) for member in members]
    known = [found for found in scored if found is not None]
    if not known:
        return asked, ""
    first = known[0]
    everywhere = len(known) == len(members)
    images = first.image_id if everywhere else asked.image_id
    assert images is not None
    log_odds = [
        asked.log_odds[i] if found is None else _log_odds(members[i], found, images)
        for i, found in enumerate(scored)
    ]
    if not everywhere:
        return (
            Predictions(np.stack(log_odds), asked.labels, asked.patients, images),
            "Cross-fitted members' eval scores are out of fold. ",
        )
    return (
        Predictions(np.stack(log_odds), first.labels, first.patient_id, images),
        f"Scores on eval are out of fold, of the {len(images):,} images of train and eval. ",
    )


def _log_odds(member: Member, found: OutOfFold, images: np.ndarray) -> np.ndarray:
    """Calibrated log-odds [N, C] of these images."""
    try:
        rows = found.rows_of(images)
    except CxrflowError as error:
        raise CxrflowError(f"{member.name}: {error}") from error
    log_odds: np.ndarray = member.calibration.log_odds(found.logits[rows])
    return log_odds
