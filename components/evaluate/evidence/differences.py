"""A model against others on the same images, by the mean AUC of the classes that both have."""

from collections.abc import Mapping

import numpy as np

from cxrflow.components.evaluate.statistics.auc import drawn_aucs
from cxrflow.components.evaluate.statistics.draws import Draws, Estimate, estimate, mean_of
from cxrflow.components.evaluate.verdict import Difference
from cxrflow.components.score.files import Scores


def differences(
    scores: Scores, others: Mapping[str, Scores], draws: Draws
) -> tuple[Difference, ...]:
    """The model against each of the others, paired.

    Args:
        scores: the model's.
        others: of the same images, by name.
        draws: of the patients of `scores`.

    Raises:
        CxrflowError: one was scored on other images.
    """
    labels, found = scores.images.labels, []
    aucs = drawn_aucs(labels, scores.probabilities, draws)
    for name, one in others.items():
        other = drawn_aucs(labels, one.in_order_of(scores.images.image_id).probabilities, draws)
        both = np.isfinite(aucs[:, 0]) & np.isfinite(other[:, 0])
        found.append(
            Difference(
                name=name,
                split=scores.split,
                auc=float(mean_of(other[both])[0]),
                model_auc=float(mean_of(aucs[both])[0]),
                difference=estimate(mean_of(aucs[both] - other[both])),
            )
        )
    return tuple(found)


def signed(found: Estimate) -> str:
    """A difference with its interval."""
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
