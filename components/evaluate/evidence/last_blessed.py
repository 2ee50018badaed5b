"""A model against the last blessed one, on the same images and the same draws of patients."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.statistics.draws import below_zero, estimate
from cxrflow.components.evaluate.verdict import Change

NAMES: Mapping[str, str] = {"auc": "AUC", "ece": "ECE", "brier": "Brier score"}


def change(
    metric: str, drawn: np.ndarray, before: np.ndarray, margin: float, comparisons: int = 1
) -> Change:
    """What a paired difference shows of non-inferiority.

    Args:
        metric: of which a higher AUC is better, and a lower ECE or Brier score.
        drawn: the model's figures [1 + draws].
        before: the last blessed model's.
        margin: by which the model may be worse.
        comparisons: of how many this is one; see `below_zero`.
    """
    difference = drawn - before
    found = estimate(difference)
    gain = difference if metric == "auc" else -difference
    lowest = found.low if metric == "auc" else -found.high
    if gain[0] < -margin and below_zero(gain, comparisons):
        return Change(found.value, found.low, found.high, margin, "worse")
    finding: Literal["not worse", "undecided"] = "not worse" if lowest >= -margin else "undecided"
    return Change(found.value, found.low, found.high, margin, finding)


def margins(limits: FinalLimits, of_class: bool) -> dict[str, float]:
    """By metric; a single class's AUC has a margin of its own."""
    return {
        "auc": limits.max_class_auc_drop if of_class else limits.max_auc_drop,
        "ece": limits.max_ece_rise,
        "brier": limits.max_brier_rise,
    }


def told(metric: str, found: Change) -> str:
    """A change in words."""
    interval = f"{found.low:+.3f} to {found.high:+.3f}"
    return (
        f"{NAMES[metric]} {found.value:+.3f} ({interval}) against the last blessed model, "
        f"{found.margin:.3f} allowed"
    )
