"""Judges each class alone."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cxrflow.components.evaluate.ece import ENOUGH, ece_by_chance
from cxrflow.components.evaluate.evidence.figures import Figures, patients_with
from cxrflow.components.evaluate.evidence.last_blessed import NAMES, change, margins, told
from cxrflow.components.evaluate.gate import ALL_ALIKE, NOT_FINITE
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.results import ClassResult
from cxrflow.components.evaluate.statistics.auc import clustered_delong
from cxrflow.components.evaluate.statistics.calibration import drawn_brier
from cxrflow.components.evaluate.statistics.draws import Draws, below_zero, estimate, pivotal
from cxrflow.components.evaluate.verdict import ClassVerdict
from cxrflow.components.score.files import Scores

# Between the AUC of the exported model, as the Evaluator ran it, and that of the scores: float32's
# rounding moves an image past its neighbours, no more.
_SAME_AUC = 0.02


def judge_classes(
    scores: Scores,
    figures: Figures,
    last: Figures | None,
    evaluated: Sequence[ClassResult],
    shares: np.ndarray,
    bars: Mapping[str, float],
    draws: Draws,
    limits: FinalLimits,
) -> tuple[ClassVerdict, ...]:
    """Each class's verdict, in their order.

    Args:
        scores: the model's, of the split that decides.
        figures: of these scores.
        last: the last blessed model's, on the same images and draws.
        evaluated: what TFX's Evaluator found by the exported model, on the same split.
        shares: each class's share of the images on eval of which it is known, [C].
        bars: the lowest AUC, by class.
        draws: of the patients of these images.
        limits: what must be reached.
    """
    labels, patients = scores.images.labels, scores.images.patient_id
    positive, negative = (patients_with(labels, patients, value) for value in (1, 0))
    enough = np.minimum(positive, negative) >= limits.min_positive_patients
    verdicts = []
    for c, result in enumerate(evaluated):
        known = ~np.isnan(labels[:, c])
        probabilities, truth = scores.probabilities[known, c], labels[known, c]
        against = (
            {
                metric: change(
                    metric,
                    drawn[c],
                    last.by_metric()[metric][c],
                    margins(limits, of_class=True)[metric],
                    int(enough.sum()),
                )
                for metric, drawn in figures.by_metric().items()
            }
            if last and enough[c]
            else {}
        )
        of_share = drawn_brier(truth, np.full(len(truth), shares[c]), draws.within(known))
        reasons = _broken(probabilities) or (_uncomputed(figures, c, limits) if enough[c] else [])
        if not reasons and enough[c]:
            reasons = [
                *_too_low(figures.auc[c], result, bars[result.name]),
                *_miscalibrated(figures, c, of_share, len(truth), int(enough.sum()), limits),
                *(told(m, found) for m, found in against.items() if found.finding == "worse"),
            ]
        judged = bool(reasons) or bool(enough[c])
        too_few = _too_few(int(positive[c]), int(negative[c]), scores.split, limits)
        verdicts.append(
            ClassVerdict(
                result=result,
                status="not judged" if not judged else "failed" if reasons else "passed",
                reason="; ".join(reasons) if judged else too_few,
                min_auc=bars[result.name],
                auc=estimate(figures.auc[c]),
                delong=clustered_delong(truth > 0, probabilities, patients[known]),
                ece=pivotal(figures.ece[c]),
                ece_by_chance=ece_by_chance(probabilities),
                brier=estimate(figures.brier[c]),
                brier_of_share=float(of_share[0]),
                positive_patients=int(positive[c]),
                negative_patients=int(negative[c]),
                against_last=against,
            )
        )
    return tuple(verdicts)


def _broken(probabilities: np.ndarray) -> list[str]:
    if not np.isfinite(probabilities).all():
        return [NOT_FINITE]
    return [ALL_ALIKE] if len(probabilities) and np.ptp(probabilities) == 0 else []


def _uncomputed(figures: Figures, c: int, limits: FinalLimits) -> list[str]:
    by_metric = figures.by_metric()
    return [
        f"{NAMES[metric]} was asked for and isn't computed"
        for metric in limits.metrics
        if not math.isfinite(by_metric[metric][c, 0])
    ]


def _too_low(drawn: np.ndarray, result: ClassResult, bar: float) -> list[str]:
    if math.isnan(result.auc) or abs(result.auc - drawn[0]) > _SAME_AUC:
        return [
            f"the exported model's AUC is {result.auc:.3f}, by its scores {drawn[0]:.3f}: they "
            "aren't of one model"
        ]
    return [f"AUC {estimate(drawn)}, {bar:.3f} needed"] if drawn[0] < bar else []


def _miscalibrated(
    figures: Figures,
    c: int,
    of_share: np.ndarray,
    images: int,
    comparisons: int,
    limits: FinalLimits,
) -> list[str]:
    reasons: list[str] = []
    ece = pivotal(figures.ece[c])
    if "ece" in limits.metrics and images >= ENOUGH and ece.low > limits.max_ece:
        reasons.append(f"ECE {ece}, {limits.max_ece:.3f} allowed")
    if "brier" in limits.metrics and below_zero(of_share - figures.brier[c], comparisons):
        reasons.append(
            f"Brier score {figures.brier[c, 0]:.3f}, worse than {of_share[0]:.3f} for saying the "
            "class's share on eval of every image"
        )
    return reasons


def _too_few(positive: int, negative: int, split: str, limits: FinalLimits) -> str:
    count, kind = min((positive, "positive"), (negative, "negative"), key=lambda pair: pair[0])
    plural = "" if count == 1 else "s"
    return (
        f"{count} {kind} patient{plural} in the {split} split, "
        f"{limits.min_positive_patients} needed"
    )
