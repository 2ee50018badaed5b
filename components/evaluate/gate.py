"""Decides from its scores on one split whether a model may be used."""

import math
from dataclasses import field
from statistics import fmean
from typing import Literal

from cxrflow.components.evaluate.results import ClassResult, ModelResults, whole
from cxrflow.components.evaluate.verdict import ClassVerdict, Verdict
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.scores import mean_auc
from cxrflow.schema.settings import Fraction, Positive, settings


@settings
class Limits:
    """What a model must reach on the split that it is judged by."""

    min_auc: Fraction = 0.5
    """Lowest AUC of every gated class."""
    min_mean_auc: Fraction = 0.5
    """Lowest mean AUC of the gated classes."""
    min_auc_per_class: dict[str, Fraction] = field(default_factory=dict)
    """Lowest AUC of single classes, instead of min_auc."""
    min_positives: Positive = 100
    """Positive (and negative) images below which a class is too noisy to gate."""
    max_auc_drop: Fraction = 0.02
    """Largest fall of the gated classes' mean AUC below the last blessed model's."""
    max_class_auc_drop: Fraction = 0.1
    """Largest fall of one gated class's AUC; a single class is noisier."""


def judge(
    candidate: ModelResults,
    limits: Limits,
    *,
    name: str = "",
    split: str = "test",
    baseline: ModelResults | None = None,
    baseline_uri: str = "",
    synthetic: bool = False,
) -> Verdict:
    """Judges a model by its classes on one split; slices and other splits are only reported.

    A class passes when its AUC is at least its lower bound and not too far below the baseline's.
    One with few positives or negatives is not gated. Probabilities that are not finite or the same
    for every image fail whatever the counts. A model of which no class could be gated isn't
    blessed.

    Args:
        candidate: scores of the model, by slice.
        limits: what it must reach.
        name: of the model.
        split: the one that decides.
        baseline: scores of the last blessed model for the same classes and examples.
        baseline_uri: that model's folder.
        synthetic: the scores stem from phantoms.

    Raises:
        CxrflowError: the split wasn't evaluated, or a bound is set for a class that isn't among
            the results.
    """
    overall = whole(split)
    if overall not in candidate:
        raise CxrflowError(f"The {split} split was not evaluated: has it images?")
    results = candidate[overall]
    unknown = sorted(set(limits.min_auc_per_class) - {r.name for r in results})
    if unknown:
        raise CxrflowError(
            f"evaluate.min_auc_per_class names {', '.join(unknown)}: not among this run's classes."
        )
    before = {r.name: r.auc for r in baseline[overall]} if baseline else {}
    classes = tuple(_judge_class(r, limits, split, before.get(r.name, math.nan)) for r in results)

    gated = [c for c in classes if c.status != "not gated"]
    change = fmean(c.auc_change for c in gated) if gated else math.nan
    mean = mean_auc(c.result.auc for c in gated)
    reasons = [f"{c.result.name}: {c.reason}" for c in classes if c.status == "fail"]
    if not gated:
        reasons.append(
            f"No class has {limits.min_positives} positives and as many negatives in the "
            f"{split} split: nothing to judge by (min_positives)."
        )
    if mean < limits.min_mean_auc:
        reasons.append(
            f"The gated classes' mean AUC is {mean:.3f}, {limits.min_mean_auc:.3f} needed "
            "(min_mean_auc)."
        )
    if change < -limits.max_auc_drop:
        reasons.append(
            f"The mean AUC is {-change:.3f} below the last blessed model's; "
            f"{limits.max_auc_drop:.3f} is allowed (max_auc_drop)."
        )
    return Verdict(
        name=name,
        split=split,
        blessed=not reasons,
        reasons=tuple(reasons),
        synthetic=synthetic,
        classes=classes,
        mean_auc=mean_auc(r.auc for r in results),
        mean_auc_change=change,
        baseline=baseline_uri,
        slices={key: found for key, found in candidate.items() if key != overall},
    )


def _judge_class(
    result: ClassResult, limits: Limits, split: str, auc_before: float
) -> ClassVerdict:
    bound = limits.min_auc_per_class.get(result.name, limits.min_auc)
    change = result.auc - auc_before
    status: Literal["pass", "fail", "not gated"] = "fail"
    reason = ""
    if not math.isfinite(result.mean_prediction):
        reason = "its probabilities are not finite (NaN or infinite)"
    elif result.prediction_range == 0:
        reason = "the same probability for every image"
    elif min(result.positives, result.negatives) < limits.min_positives:
        kind = "positives" if result.positives < result.negatives else "negatives"
        count = min(result.positives, result.negatives)
        status = "not gated"
        reason = f"{count} {kind} in the {split} split, {limits.min_positives} needed"
    elif math.isnan(result.auc) or result.auc < bound:
        reason = f"AUC {result.auc:.3f}, {bound:.3f} needed"
    elif change < -limits.max_class_auc_drop:
        reason = (
            f"AUC {result.auc:.3f}, {auc_before:.3f} in the last blessed model: "
            f"a drop of {limits.max_class_auc_drop:.3f} is allowed"
        )
    else:
        status = "pass"
    return ClassVerdict(result, status, reason, bound, change)
