"""A model against the simplest ones, on eval."""

from collections.abc import Iterable

from cxrflow.components.evaluate.evidence.differences import signed
from cxrflow.components.evaluate.evidence.figures import fewest_patients
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.verdict import Difference, FloorVerdict
from cxrflow.components.floor.settings import METADATA, PROBE, SHUFFLED
from cxrflow.components.score.files import Table

# What each baseline is, in words; the first word after "more than" below.
NAMES = {
    PROBE: "the linear probe on frozen features",
    METADATA: "sex, age and view alone",
    SHUFFLED: "the linear probe on shuffled labels",
}


def judge_floor(
    found: Iterable[Difference], on_eval: Table, limits: FinalLimits
) -> tuple[FloorVerdict, ...]:
    """What the model's differences from the baselines say of it.

    Of too few patients they say nothing: draws of the same few are alike, and an interval of them
    is narrow by that alone.

    Args:
        found: the differences.
        on_eval: the images that they are of.
        limits: which to beat, and how many patients some class needs.
    """
    fewest = fewest_patients(on_eval.labels, on_eval.patient_id)
    judged = bool((fewest >= limits.min_positive_patients).any())
    return tuple(
        FloorVerdict(
            name=one.name,
            auc=one.auc,
            model_auc=one.model_auc,
            difference=one.difference,
            required=one.name in limits.must_beat,
            beaten=judged and one.difference.low > 0,
            judged=judged,
        )
        for one in found
    )


def too_few(limits: FinalLimits) -> str:
    """Why nothing was judged."""
    least = limits.min_positive_patients
    return f"no class has {least} positive and as many negative patients on eval"


def floor_reasons(found: tuple[FloorVerdict, ...], limits: FinalLimits) -> list[str]:
    """Why a model isn't blessed for its floor; what it must beat and wasn't computed included."""
    known = {item.name for item in found}
    reasons = [
        f"{NAMES[name]} was to be beaten and isn't computed (must_beat)."
        for name in limits.must_beat
        if name not in known
    ]
    for item in found:
        if item.required and not item.judged:
            reasons.append(
                f"Whether it has learned more than {NAMES[item.name]} isn't known: "
                f"{too_few(limits)} (must_beat, min_positive_patients)."
            )
        elif item.required and not item.beaten:
            reasons.append(
                f"It has learned nothing more than {NAMES[item.name]}: mean eval AUC "
                f"{item.model_auc:.3f} against {item.auc:.3f}, difference "
                f"{signed(item.difference)}, and the interval must lie above 0 (must_beat)."
            )
    return reasons
