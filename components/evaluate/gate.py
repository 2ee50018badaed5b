"""Decides from its scores on eval whether a trained model joins the ensemble."""

import math
from typing import Literal

from cxrflow.components.evaluate.limits import Limits, MemberLimits
from cxrflow.components.evaluate.results import ClassResult, ModelResults, whole
from cxrflow.components.evaluate.statistics.draws import Estimate
from cxrflow.components.evaluate.verdict import ClassVerdict, Verdict
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.scores import mean_auc

NOT_FINITE = "its probabilities are not finite (NaN or infinite)"
ALL_ALIKE = "the same probability for every image"


def judge(
    candidate: ModelResults,
    limits: MemberLimits,
    *,
    name: str = "",
    split: str = "eval",
    synthetic: bool = False,
) -> Verdict:
    """Judges a model by its classes on one split; slices and other splits are only reported.

    A class passes when its AUC is at least its lower bound. One with few positives or negatives is
    not judged. Probabilities that are not finite or the same for every image fail whatever the
    counts. A model of which no class could be judged isn't blessed.

    Args:
        candidate: scores of the model, by slice.
        limits: what it must reach.
        name: of the model.
        split: the one that decides.
        synthetic: the scores stem from phantoms.

    Raises:
        CxrflowError: the split wasn't evaluated, or a bound is set for a class that isn't among
            the results.
    """
    results = of_split(candidate, split)
    check_bounds(limits, [r.name for r in results])
    classes = tuple(_judge_class(r, limits, split) for r in results)
    judged = [c for c in classes if c.status != "not judged"]
    mean = mean_auc(c.result.auc for c in judged)
    reasons = [f"{c.result.name}: {c.reason}" for c in classes if c.status == "failed"]
    if not judged:
        reasons.append(
            f"No class has {limits.min_positives} positives and as many negatives in the "
            f"{split} split: nothing to judge by (min_positives)."
        )
    if mean < limits.min_mean_auc:
        reasons.append(mean_too_low(mean, limits))
    return Verdict(
        name=name,
        split=split,
        blessed=not reasons,
        reasons=tuple(reasons),
        synthetic=synthetic,
        classes=classes,
        mean_auc=mean_auc(r.auc for r in results),
        baseline="",
        slices={key: found for key, found in candidate.items() if key != whole(split)},
        not_judged=tuple(
            f"{c.result.name}: {c.reason}" for c in classes if c.status == "not judged"
        ),
    )


def of_split(candidate: ModelResults, split: str) -> tuple[ClassResult, ...]:
    """The scores over all of a split. Raises CxrflowError if it wasn't evaluated."""
    if whole(split) not in candidate:
        raise CxrflowError(f"The {split} split was not evaluated: has it images?")
    return candidate[whole(split)]


def check_bounds(limits: Limits, classes: list[str]) -> None:
    """Raises CxrflowError if a bound is set for none of the classes."""
    if unknown := sorted(set(limits.min_auc_per_class) - set(classes)):
        raise CxrflowError(
            f"evaluate.min_auc_per_class names {', '.join(unknown)}: not among this run's classes."
        )


def mean_too_low(mean: float, limits: Limits) -> str:
    """The reason, in words."""
    return (
        f"The judged classes' mean AUC is {mean:.3f}, {limits.min_mean_auc:.3f} needed "
        "(min_mean_auc)."
    )


def _judge_class(result: ClassResult, limits: MemberLimits, split: str) -> ClassVerdict:
    bound = limits.min_auc_per_class.get(result.name, limits.min_auc)
    status: Literal["passed", "failed", "not judged"] = "failed"
    reason = ""
    if not math.isfinite(result.mean_prediction):
        reason = NOT_FINITE
    elif result.prediction_range == 0:
        reason = ALL_ALIKE
    elif min(result.positives, result.negatives) < limits.min_positives:
        kind = "positives" if result.positives < result.negatives else "negatives"
        count = min(result.positives, result.negatives)
        status = "not judged"
        reason = f"{count} {kind} in the {split} split, {limits.min_positives} needed"
    elif math.isnan(result.auc) or result.auc < bound:
        reason = f"AUC {result.auc:.3f}, {bound:.3f} needed"
    else:
        status = "passed"
    return ClassVerdict(result, status, reason, bound, auc=Estimate(result.auc))
