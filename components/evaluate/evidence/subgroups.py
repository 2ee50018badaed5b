"""Gaps between groups of patients."""

from collections.abc import Iterator, Sequence

import numpy as np

from cxrflow.components.evaluate.evidence.figures import fewest_patients
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.statistics.auc import drawn_aucs
from cxrflow.components.evaluate.statistics.draws import Draws, below_zero, estimate, mean_of
from cxrflow.components.evaluate.verdict import SubgroupVerdict
from cxrflow.components.score.files import Scores


def judge_subgroups(
    scores: Scores, draws: Draws, limits: FinalLimits, slices: Sequence[str] = ()
) -> tuple[SubgroupVerdict, ...]:
    """Each group against all other images, by the mean AUC of the classes that both can tell.

    A class counts that has enough positive and negative patients in the group and outside. A group
    fails if its mean is lower by more than the limit, and by more than chance for all groups that
    were judged together.

    Args:
        scores: the model's, of the split that decides.
        draws: of the patients of `scores`.
        limits: the groups, and what is allowed.
        slices: names of further groups, of a described source.
    """
    found = [*_compared(scores, draws, limits, (*limits.subgroups, *slices))]
    judged = sum(gap is not None for _, gap in found)
    return tuple(
        group if gap is None else _judged(group, gap, judged, limits) for group, gap in found
    )


def _compared(
    scores: Scores, draws: Draws, limits: FinalLimits, attributes: Sequence[str]
) -> Iterator[tuple[SubgroupVerdict, np.ndarray | None]]:
    """Each group, not judged yet, and its gap on each draw; None where no class can tell."""
    images = scores.images
    for attribute in attributes:
        values = images.groups(attribute)
        known: dict[bytes, np.ndarray] = {}  # AUCs by the images that they are of
        for group in np.unique(values):
            inside = values == group
            sides = (inside, ~inside)
            enough = np.min([_fewest(scores, side) for side in sides], axis=0)
            classes = np.flatnonzero(enough >= limits.min_positive_patients)
            least = limits.min_positive_patients
            row = SubgroupVerdict(
                attribute=attribute,
                group=str(group),
                images=int(inside.sum()),
                patients=len(np.unique(images.patient_id[inside])),
                status="not judged",
                reason=f"no class has {least} positive and negative patients in it and outside",
            )
            if not len(classes):
                yield row, None
                continue
            for side in sides:
                if side.tobytes() not in known:
                    known[side.tobytes()] = drawn_aucs(
                        images.labels[side], scores.probabilities[side], draws.within(side)
                    )
            aucs, others = (known[side.tobytes()][classes] for side in sides)
            gap = mean_of(aucs - others)
            yield (
                SubgroupVerdict(
                    **{
                        **vars(row),
                        "reason": "",
                        "auc": estimate(mean_of(aucs)),
                        "gap": estimate(gap),
                        "classes": {
                            scores.classes[c]: estimate(aucs[i]) for i, c in enumerate(classes)
                        },
                    }
                ),
                gap,
            )


def _fewest(scores: Scores, mask: np.ndarray) -> np.ndarray:
    """The rarer of positive and negative patients in a mask, [C]."""
    return fewest_patients(scores.images.labels[mask], scores.images.patient_id[mask])


def _judged(
    row: SubgroupVerdict, gap: np.ndarray, comparisons: int, limits: FinalLimits
) -> SubgroupVerdict:
    if gap[0] >= -limits.max_subgroup_gap or not below_zero(gap, comparisons):
        return SubgroupVerdict(**{**vars(row), "status": "passed"})
    reason = (
        f"mean AUC {row.auc} is {-row.gap.value:.3f} ({-row.gap.high:.3f} to {-row.gap.low:.3f}) "
        f"below all others', {limits.max_subgroup_gap:.3f} allowed"
    )
    return SubgroupVerdict(**{**vars(row), "status": "failed", "reason": reason})
