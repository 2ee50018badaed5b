"""What a model must reach, as data."""

from dataclasses import field
from typing import Literal

from pydantic import Field

from cxrflow.schema.settings import Fraction, Positive, settings

Metric = Literal["auc", "ece", "brier"]
Attribute = Literal["sex", "view", "age_band"]


@settings
class Limits:
    """What any model must reach on the split that it is judged by."""

    min_auc: Fraction = 0.5
    """Lowest AUC of every class that is judged."""
    min_mean_auc: Fraction = 0.5
    """Lowest mean AUC of the classes that are judged."""
    min_auc_per_class: dict[str, Fraction] = field(default_factory=dict)
    """Lowest AUC of single classes, instead of min_auc."""


@settings
class MemberLimits(Limits):
    """What an ensemble's member must reach on eval, where a class alone is too noisy."""

    min_auc: Fraction = 0.0
    """Lowest eval AUC that every class of a member must reach that is judged."""
    min_positives: Positive = 10
    """Positive (and negative) eval images below which a member's class is not judged."""


@settings
class FinalLimits(Limits):
    """What the model that may be pushed must reach on test, and whom it must beat on eval."""

    min_positive_patients: Positive = 20
    """Positive (and negative) patients below which a class, or a subgroup, is not judged alone, nor
    a model against baselines where no class has so many."""
    metrics: tuple[Metric, ...] = ("auc", "ece", "brier")
    """What every class is judged by; one that can't be computed fails."""
    max_ece: Fraction = 0.1
    """Highest expected calibration error of a class, beyond what noise explains."""
    max_auc_drop: Fraction = 0.02
    """Margin by which the mean AUC may lie below the last blessed model's."""
    max_class_auc_drop: Fraction = 0.05
    """Margin by which the AUC of one class may lie below the last blessed model's."""
    max_ece_rise: Fraction = 0.02
    """Margin by which an ECE may lie above the last blessed model's."""
    max_brier_rise: Fraction = 0.01
    """Margin by which a Brier score may lie above the last blessed model's."""
    must_beat: tuple[Literal["probe", "metadata", "shuffled"], ...] = ("probe", "metadata")
    """Baselines whose mean eval AUC the model must exceed by more than chance."""
    references: tuple[str, ...] = ()
    """Sources in schema/reference.csv whose AUCs are lower bounds, where they are comparable."""
    subgroups: tuple[Attribute, ...] = ("sex", "view", "age_band")
    """Attributes by which patients are grouped to look for gaps."""
    max_subgroup_gap: Fraction = 0.1
    """Largest gap in mean AUC between a subgroup and all others, where it is no chance."""
    draws: int = Field(default=1000, ge=100)
    """Draws of patients, for the intervals."""
