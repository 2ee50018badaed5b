"""Decides from what is known of a model whether it may be pushed, and says by what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrflow.components.evaluate.evidence.classes import judge_classes
from cxrflow.components.evaluate.evidence.differences import differences
from cxrflow.components.evaluate.evidence.figures import Figures
from cxrflow.components.evaluate.evidence.floor import floor_reasons, judge_floor
from cxrflow.components.evaluate.evidence.last_blessed import change, margins, told
from cxrflow.components.evaluate.evidence.references import bars_of, judge_references
from cxrflow.components.evaluate.evidence.subgroups import judge_subgroups
from cxrflow.components.evaluate.evidence.words import judged_by, not_judged, summary
from cxrflow.components.evaluate.gate import check_bounds, mean_too_low, of_split
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.results import ModelResults, whole
from cxrflow.components.evaluate.settings import SplitKind
from cxrflow.components.evaluate.statistics.draws import Draws, estimate, mean_of, pivotal
from cxrflow.components.evaluate.verdict import Change, ClassVerdict, Difference, Verdict
from cxrflow.components.floor.settings import SHUFFLED
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.score.files import Scores
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.labels import shares
from cxrflow.schema.portable.scores import mean_auc

SPLIT = "test"


@dataclass(frozen=True)
class Evidence:
    """What the gate looks at."""

    results: ModelResults  # of the exported model, as TFX's Evaluator found them
    test: Scores
    eval: Scores
    floor: Mapping[str, Scores] = field(default_factory=dict)  # of eval, by baseline
    floor_test: Mapping[str, Scores] = field(default_factory=dict)
    members: Mapping[str, tuple[Scores, Scores]] = field(default_factory=dict)  # of eval and test
    last: Scores | None = None  # of test, by the last blessed model
    last_uri: str = ""
    passed_over: str = ""  # why the latest blessed model is not that one, in words


def judge(
    evidence: Evidence,
    limits: FinalLimits,
    *,
    name: str = "",
    slices: Sequence[str] = (),
    split_kind: SplitKind = "hash of patients",
    synthetic: bool = False,
) -> Verdict:
    """Judges the model that may be pushed.

    Its classes on test, alone where there are enough patients, in the mean, and against the last
    blessed model; groups of patients on test; its mean on eval against baselines. It is blessed if
    no part finds a reason against it, and a class could be judged.

    Args:
        evidence: what is known.
        limits: what it must reach.
        name: of the model.
        slices: further groups of patients than `limits.subgroups`.
        split_kind: how test was split off.
        synthetic: the images are phantoms.

    Raises:
        CxrflowError: evidence is about other classes or images, or limits name what isn't there.
    """
    classes = evidence.test.classes
    results = of_split(evidence.results, SPLIT)
    if tuple(result.name for result in results) != classes:
        raise CxrflowError("the evaluation and the scores are about other classes: run again")
    check_bounds(limits, list(classes))
    references = judge_references(
        limits.references, split_kind, len(evidence.test.images), synthetic
    )
    published = bars_of(references, classes)
    bars = {
        one: max(limits.min_auc_per_class.get(one, limits.min_auc), published.get(one, 0.0))
        for one in classes
    }
    draws = Draws.of(evidence.test.images.patient_id, limits.draws)
    figures = Figures.of(evidence.test, draws)
    last = _last(evidence, draws)
    on_eval = shares(evidence.eval.images.labels)
    judged = judge_classes(evidence.test, figures, last, results, on_eval, bars, draws, limits)
    rows = np.array([c for c, item in enumerate(judged) if item.status != "not judged"], int)
    means = {metric: mean_of(drawn[rows]) for metric, drawn in figures.by_metric().items()}
    against = _against_last(means, last, rows, limits)
    subgroups = judge_subgroups(evidence.test, draws, limits, slices)
    of_eval = Draws.of(evidence.eval.images.patient_id, limits.draws)
    from_floor = differences(evidence.eval, evidence.floor, of_eval)
    floor = judge_floor(from_floor, evidence.eval.images, limits)
    reasons = [
        *floor_reasons(floor, limits),
        *_of_classes(judged, limits),
        *([mean_too_low(means["auc"][0], limits)] if means["auc"][0] < limits.min_mean_auc else []),
        *(
            f"In the mean of the judged classes: {told(metric, found)}."
            for metric, found in against.items()
            if found.finding == "worse"
        ),
        *(f"{g.attribute} {g.group}: {g.reason}." for g in subgroups if g.status == "failed"),
    ]
    found = Verdict(
        name=name,
        split=SPLIT,
        blessed=not reasons,
        reasons=tuple(reasons),
        synthetic=synthetic,
        classes=judged,
        mean_auc=mean_auc(result.auc for result in results),
        baseline=evidence.last_uri,
        slices={key: one for key, one in evidence.results.items() if key != whole(SPLIT)},
        images=len(evidence.test.images),
        patients=len(draws.times),
        judged_auc=estimate(means["auc"]),
        judged_ece=pivotal(means["ece"]),
        judged_ece_by_chance=float(np.mean([judged[c].ece_by_chance for c in rows]))
        if len(rows)
        else math.nan,
        judged_brier=estimate(means["brier"]),
        against_last=against,
        floor=floor,
        differences=_told(from_floor, evidence, of_eval, draws),
        subgroups=subgroups,
        references=references,
    )
    return Verdict(
        **{
            **vars(found),
            "summary": summary(found),
            "judged_by": judged_by(found, limits),
            "not_judged": not_judged(found, limits, evidence.passed_over),
        }
    )


def _told(
    from_floor: tuple[Difference, ...], evidence: Evidence, of_eval: Draws, of_test: Draws
) -> tuple[Difference, ...]:
    """The model against the floor and the member that is best on eval, on eval and on test."""
    best = sorted(evidence.members, key=lambda name: _mean(evidence.members[name][0]))[-1:]
    on_eval, on_test = ({name: evidence.members[name][i] for name in best} for i in range(2))
    floor_test = {name: one for name, one in evidence.floor_test.items() if name != SHUFFLED}
    return (
        *(one for one in from_floor if one.name != SHUFFLED),
        *differences(evidence.eval, on_eval, of_eval),
        *differences(evidence.test, floor_test | on_test, of_test),
    )


def _mean(scores: Scores) -> float:
    return mean_auc(per_class_auc(scores.images.labels, scores.probabilities))


def _last(evidence: Evidence, draws: Draws) -> Figures | None:
    if evidence.last is None:
        return None
    scores = evidence.last.in_order_of(evidence.test.images.image_id)
    if scores.classes != evidence.test.classes:
        raise CxrflowError("the last blessed model tells other classes: it can't be compared")
    return Figures.of(scores, draws)


def _against_last(
    means: Mapping[str, np.ndarray], last: Figures | None, rows: np.ndarray, limits: FinalLimits
) -> dict[str, Change]:
    if last is None or not len(rows):
        return {}
    allowed = margins(limits, of_class=False)
    return {
        metric: change(metric, means[metric], mean_of(before[rows]), allowed[metric])
        for metric, before in last.by_metric().items()
    }


def _of_classes(judged: tuple[ClassVerdict, ...], limits: FinalLimits) -> list[str]:
    if all(item.status == "not judged" for item in judged):
        least = limits.min_positive_patients
        return [
            f"No class has {least} positive and as many negative patients in the {SPLIT} split: "
            "nothing to judge by (min_positive_patients)."
        ]
    return [f"{item.result.name}: {item.reason}" for item in judged if item.status == "failed"]
