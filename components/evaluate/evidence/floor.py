"""A model against the simplest ones, on eval."""

from collections.abc import Iterable

from cxrflow.components.evaluate.evidence.differences import signed
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.verdict import Difference, FloorVerdict
from cxrflow.components.floor.settings import METADATA, PROBE, SHUFFLED

# What each baseline is, in words; the first word after "more than" below.
NAMES = {
    PROBE: "the linear probe on frozen features",
    METADATA: "sex, age and view alone",
    SHUFFLED: "the linear probe on shuffled labels",
}


def judge_floor(found: Iterable[Difference], limits: FinalLimits) -> tuple[FloorVerdict, ...]:
    """What the model's differences from the baselines on eval say of it; limits: which to beat."""
    return tuple(
        FloorVerdict(
            name=one.name,
            auc=one.auc,
            model_auc=one.model_auc,
            difference=one.difference,
            required=one.name in limits.must_beat,
            beaten=one.difference.low > 0,
        )
        for one in found
    )


def floor_reasons(found: tuple[FloorVerdict, ...], limits: FinalLimits) -> list[str]:
    """Why a model isn't blessed for its floor; what it must beat and wasn't computed included."""
    known = {item.name for item in found}
    reasons = [
        f"{NAMES[name]} was to be beaten and isn't computed (must_beat)."
        for name in limits.must_beat
        if name not in known
    ]
    for item in found:
        if item.required and not item.beaten:
            reasons.append(
                f"It has learned nothing more than {NAMES[item.name]}: mean eval AUC "
                f"{item.model_auc:.3f} against {item.auc:.3f}, difference "
                f"{signed(item.difference)}, and the interval must lie above 0 (must_beat)."
            )
    return reasons
