"""What a verdict says in plain words: the sentence, by what it judged, and what it couldn't."""

from cxrflow.components.evaluate.ece import ENOUGH
from cxrflow.components.evaluate.evidence.differences import signed
from cxrflow.components.evaluate.evidence.floor import NAMES as BASELINES
from cxrflow.components.evaluate.evidence.floor import too_few
from cxrflow.components.evaluate.evidence.last_blessed import NAMES as METRICS
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.verdict import Verdict


def summary(found: Verdict) -> str:
    """One sentence."""
    judged, missing = len(found.judged), len(found.classes) - len(found.judged)
    counts = f"{judged} of {len(found.classes)} classes were judged"
    if not found.blessed:
        more = f" (and {len(found.reasons) - 1} more reasons)" if len(found.reasons) > 1 else ""
        if len(found.reasons) == 2:
            more = " (and 1 more reason)"
        return f"Not blessed, {counts}: {found.reasons[0].removesuffix('.')}{more}."
    left = f"; {missing} had too few patients" if missing else ""
    return (
        f"Blessed: {counts}{left}; their mean AUC is {found.judged_auc} on {found.images:,} images "
        f"of {found.patients:,} patients."
    )


def judged_by(found: Verdict, limits: FinalLimits) -> tuple[str, ...]:
    """What was looked at, each with its measure."""
    lines = [
        f"{len(found.judged)} classes alone on {found.split}, {found.images:,} images of "
        f"{found.patients:,} patients: AUC at least {limits.min_auc:.3f} or the class's own bar, "
        f"in the mean {limits.min_mean_auc:.3f}"
    ]
    if "ece" in limits.metrics and found.images >= ENOUGH:
        line = f"calibration: ECE of each at most {limits.max_ece:.3f}, beyond noise"
        if found.judged:
            line += (
                f"; in the mean {found.judged_ece.value:.3f}, where right probabilities would show "
                f"{found.judged_ece_by_chance:.3f} on so few images"
            )
        lines.append(line)
    if "brier" in limits.metrics:
        lines.append("calibration: Brier score no worse than saying each class's share on eval")
    if found.against_last:
        changes = ", ".join(
            f"{METRICS[metric]} {one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f}), "
            f"{one.margin:.3f} allowed, {one.finding}"
            for metric, one in found.against_last.items()
        )
        lines.append(f"the last blessed model on the same images, in the mean: {changes}")
    lines += [
        f"{BASELINES[item.name]} on eval: mean AUC {item.auc:.3f}, the model's "
        f"{item.model_auc:.3f}, difference {signed(item.difference)}, "
        f"{'beaten' if item.beaten else 'not beaten'}"
        for item in found.floor
        if item.required and item.judged
    ]
    groups = [group for group in found.subgroups if group.status != "not judged"]
    if groups:
        names = ", ".join(dict.fromkeys(group.attribute for group in groups))
        lines.append(
            f"{len(groups)} groups of patients ({names}): mean AUC at most "
            f"{limits.max_subgroup_gap:.3f} below all others', where it is no chance"
        )
    lines += [f"{item.source}: {item.reason}" for item in found.references if item.comparable]
    return tuple(lines)


def not_judged(found: Verdict, limits: FinalLimits, passed_over: str = "") -> tuple[str, ...]:
    """What could not be judged, and why; passed_over: see `judge.Evidence`."""
    lines = [
        f"{item.result.name}: {item.reason}"
        for item in found.classes
        if item.status == "not judged"
    ]
    if "ece" in limits.metrics and found.images < ENOUGH:
        lines.append(f"calibration by ECE: {found.images} images, {ENOUGH} needed")
    lines += [
        f"against {BASELINES[item.name]}: {too_few(limits)}"
        for item in found.floor
        if item.required and not item.judged
    ]
    if passed_over:
        which = "a later" if found.baseline else "the last"
        lines.append(f"against {which} blessed model: {passed_over}")
    if not found.baseline and not passed_over:
        lines.append("against the last blessed model: there is none that can be compared")
    elif found.baseline and not found.against_last:
        lines.append("against the last blessed model: no class could be judged")
    lines += [
        f"whether the mean {METRICS[metric]} is no worse than the last blessed model's by more "
        f"than {one.margin:.3f}: too few patients to tell"
        for metric, one in found.against_last.items()
        if one.finding == "undecided"
    ]
    if open_ := [
        item.result.name
        for item in found.judged
        if (one := item.against_last.get("auc")) and one.finding == "undecided"
    ]:
        lines.append(
            f"whether the AUC of {', '.join(open_)} is no worse than the last blessed model's by "
            f"more than {limits.max_class_auc_drop:.3f}: too few patients to tell"
        )
    lines += [
        f"{group.attribute} {group.group}: {group.reason}"
        for group in found.subgroups
        if group.status == "not judged"
    ]
    lines += [
        f"{item.source} as a lower bound: not comparable, {item.reason}"
        for item in found.references
        if not item.comparable
    ]
    return tuple(lines)
