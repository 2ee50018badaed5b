"""Scores every member and every method per class, and chooses a method on eval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrflow.components.ensemble.combine import Combination, fit, score
from cxrflow.components.ensemble.settings import METHODS, EnsembleConfig
from cxrflow.components.evaluate.statistics.auc import drawn_aucs
from cxrflow.components.evaluate.statistics.draws import Draws, below_zero, mean_of
from cxrflow.components.model.folds import patient_folds
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.score.files import Table
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.scores import mean_auc

FITTED = ("weighted", "hard_vote", "stacked")
EVAL_NOTE = (
    "{fitted} learn from eval: their eval AUCs are of {folds}-fold cross-fitting by patient, each "
    "image scored by a combination fitted on other patients. Their test AUCs are of the one fitted "
    "on all of eval. Calibration and thresholds of each model are fitted on eval; no choice was "
    "made on test."
)


@dataclass(frozen=True)
class Predictions:
    """What M members say about N images of a split."""

    log_odds: np.ndarray  # [M, N, C], calibrated
    labels: np.ndarray  # [N, C], k-hot
    patients: np.ndarray  # [N]
    image_id: np.ndarray | None = None  # text [N]
    images: Table | None = None  # what else is known of them, where a split was asked


@dataclass(frozen=True)
class Method:
    """One way of combining these members."""

    combination: Combination  # fitted on all of eval
    eval_log_odds: np.ndarray  # [N, C], cross-fitted where the method learns


@dataclass(frozen=True)
class Comparison:
    """All methods, and which one is exported."""

    chosen: str
    methods: dict[str, Method]
    scores: dict[str, dict[str, np.ndarray]]  # split -> member or method -> AUC [C], NaN for none
    eval_note: str


def compare(
    names: Sequence[str],
    predictions: Mapping[str, Predictions],
    settings: EnsembleConfig,
) -> Comparison:
    """Scores members and methods on eval and test; eval alone decides.

    names: the members', in the order of the predictions; predictions: by split, eval and test. A
    single member is its own ensemble: nothing is combined.

    Raises:
        CxrflowError: eval has a single patient, so that no method can be cross-fitted.
    """
    known, unseen = predictions["eval"], predictions["test"]
    scores = {
        split: {
            name: per_class_auc(found.labels, log_odds)
            for name, log_odds in zip(names, found.log_odds, strict=True)
        }
        for split, found in predictions.items()
    }
    if len(names) == 1:
        alone = Method(fit("mean", known.log_odds, known.labels, settings), known.log_odds[0])
        return Comparison(
            names[0], {names[0]: alone}, scores, f"{names[0]} is alone: nothing was combined."
        )
    folds = min(settings.folds, len(np.unique(known.patients)))
    if folds < 2:
        raise CxrflowError(
            "all eval images are of one patient, so that ensemble methods can't be compared on it; "
            "give more data, or raise ingest.eval_share"
        )
    methods = {}
    for name in METHODS:
        if name == "hard_vote_majority":
            continue
        combination = fit(name, known.log_odds, known.labels, settings)
        log_odds = (
            cross_fit(name, known, settings, folds)
            if name in FITTED
            else score(combination, known.log_odds)
        )
        methods[name] = Method(combination, log_odds)
        scores["eval"][name] = per_class_auc(known.labels, log_odds)
        scores["test"][name] = per_class_auc(unseen.labels, score(combination, unseen.log_odds))
    votes = methods["hard_vote"]
    for split, log_odds in (
        ("eval", votes.eval_log_odds),
        ("test", score(votes.combination, unseen.log_odds)),
    ):
        # More than half of the votes: log-odds above 0.
        scores[split]["hard_vote_majority"] = per_class_auc(predictions[split].labels, log_odds > 0)
    choose = settings.method == "best"
    return Comparison(
        chosen=_best(methods, scores["eval"], known, settings) if choose else settings.method,
        methods=methods,
        scores=scores,
        eval_note=EVAL_NOTE.format(fitted=", ".join(FITTED), folds=folds),
    )


def _best(
    methods: Mapping[str, Method],
    aucs: Mapping[str, np.ndarray],
    known: Predictions,
    settings: EnsembleConfig,
) -> str:
    """The method with the highest mean AUC of those that beat the mean by more than chance.

    By draws of patients, paired, at a level for all comparisons together; the mean if none does.
    """
    draws = Draws.of(known.patients, settings.draws)

    def drawn(name: str) -> np.ndarray:
        return mean_of(drawn_aucs(known.labels, methods[name].eval_log_odds, draws))

    mean = drawn("mean")
    others = [name for name in methods if name != "mean"]
    better = [n for n in others if below_zero(mean - drawn(n), comparisons=len(others))]
    return max(better, key=lambda name: mean_auc(aucs[name]), default="mean")


def cross_fit(
    method: str, predictions: Predictions, settings: EnsembleConfig, folds: int
) -> np.ndarray:
    """Combined log-odds [N, C], of each image by a combination fitted on other patients."""
    log_odds, labels = predictions.log_odds, predictions.labels
    combined = np.empty(labels.shape)
    for others, held_out in patient_folds(predictions.patients, labels, folds):
        combination = fit(method, log_odds[:, others], labels[others], settings)
        combined[held_out] = score(combination, log_odds[:, held_out])
    return combined
