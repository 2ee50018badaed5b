"""Decides from its scores on the test split whether a model may be published."""

import math
from dataclasses import field
from statistics import fmean

from components.evaluate.results import OVERALL, ClassResult, ModelResults, mean_auc
from components.evaluate.verdict import ClassVerdict, Verdict
from schema.errors import CxrflowError
from schema.settings import Fraction, Positive, settings


@settings
class Limits:
    """What a model must reach on the test split."""

    min_auc: Fraction = 0.5  # of every gated class
    min_auc_per_class: dict[str, Fraction] = field(default_factory=dict)  # instead of min_auc
    min_positives: Positive = 100  # with fewer, or fewer negatives, a class is too noisy to gate
    max_auc_drop: Fraction = 0.02  # of the gated classes' mean, against the last blessed model
    max_class_auc_drop: Fraction = 0.1  # of one gated class; a single class is noisier


def judge(
    candidate: ModelResults,
    limits: Limits,
    *,
    baseline: ModelResults | None = None,
    baseline_uri: str = "",
    synthetic: bool = False,
) -> Verdict:
    """Judges a model by its classes; slices are reported, not gated.

    A class passes when its AUC is at least its lower bound and not too far below the baseline's.
    One with few positives or negatives is not gated. Probabilities that are not finite or the same
    for every image fail whatever the counts. A model of which no class could be gated isn't
    blessed.

    Args:
        candidate: scores of the model, by slice.
        limits: what it must reach.
        baseline: scores of the last blessed model for the same classes and examples.
        baseline_uri: that model's folder.
        synthetic: the scores stem from phantoms.

    Raises:
        CxrflowError: a bound is set for a class that isn't among the results.
    """
    results = candidate[OVERALL]
    unknown = sorted(set(limits.min_auc_per_class) - {r.name for r in results})
    if unknown:
        raise CxrflowError(
            f"evaluate.min_auc_per_class names {', '.join(unknown)}: not among this run's classes."
        )
    before = {r.name: r.auc for r in baseline[OVERALL]} if baseline else {}
    classes = tuple(_judge_class(r, limits, before.get(r.name, math.nan)) for r in results)

    gated = [c for c in classes if c.status != "not gated"]
    change = fmean(c.auc_change for c in gated) if gated else math.nan
    reasons = [f"{c.result.name}: {c.reason}" for c in classes if c.status == "fail"]
    if not gated:
        reasons.append(
            f"No class has {limits.min_positives} positives and as many negatives in the test "
            "split: nothing to judge by (evaluate.min_positives)."
        )
    if change < -limits.max_auc_drop:
        reasons.append(
            f"The mean AUC is {-change:.3f} below the last blessed model's; "
            f"{limits.max_auc_drop:.3f} is allowed (evaluate.max_auc_drop)."
        )
    return Verdict(
        blessed=not reasons,
        reasons=tuple(reasons),
        synthetic=synthetic,
        classes=classes,
        mean_auc=mean_auc(r.auc for r in results),
        mean_auc_change=change,
        baseline=baseline_uri,
        slices={name: found for name, found in candidate.items() if name != OVERALL},
    )


def _judge_class(result: ClassResult, limits: Limits, auc_before: float) -> ClassVerdict:
    bound = limits.min_auc_per_class.get(result.name, limits.min_auc)
    change = result.auc - auc_before
    status, reason = "fail", ""
    if not math.isfinite(result.mean_prediction):
        reason = "its probabilities are not finite (NaN or infinite)"
    elif result.prediction_range == 0:
        reason = "the same probability for every image"
    elif min(result.positives, result.negatives) < limits.min_positives:
        kind = "positives" if result.positives < result.negatives else "negatives"
        count = min(result.positives, result.negatives)
        status = "not gated"
        reason = f"{count} {kind} in the test split, {limits.min_positives} needed"
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
