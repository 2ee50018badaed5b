"""What an evaluation found, as plain records."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import SPLIT

CANDIDATE, BASELINE = "candidate", "baseline"  # the models of an evaluation


@dataclass(frozen=True)
class ClassResult:
    """Scores of one class over one slice of a split; see `scores`."""

    name: str
    positives: int
    negatives: int
    auc: float
    auc_precision_recall: float
    mean_label: float
    mean_prediction: float
    calibration: float
    brier_score: float
    prediction_range: float
    ece: float
    ece_uncalibrated: float
    brier_score_uncalibrated: float


# By slice, "split=test" or "split=test,view=AP", in the order of the classes.
ModelResults = dict[str, tuple[ClassResult, ...]]


def whole(split: str) -> str:
    """The name of the slice that is all of a split."""
    return f"{SPLIT}={split}"


def too_few(positives: float, negatives: float, least: int) -> str:
    """Words in place of a class's AUC that `least` images of each kind don't bear; else empty."""
    count, kind = min((positives, "positive"), (negatives, "negative"), key=lambda pair: pair[0])
    return "" if count >= least else f"too few: {count:.0f} {kind}{'' if count == 1 else 's'}"


def load_evaluation(directory: Path, classes: Sequence[str]) -> dict[str, ModelResults]:
    """Reads what TFX's Evaluator wrote with `tfma_config.eval_config`.

    Args:
        directory: the Evaluator's `evaluation` artifact.
        classes: names of the classes, in the order of the labels.

    Returns:
        Results by model, `CANDIDATE` and, where one was evaluated, `BASELINE`.

    Raises:
        CxrflowError: nothing was evaluated, or it isn't about as many classes.
    """
    import tensorflow_model_analysis as tfma  # slow to import

    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for metrics in tfma.load_metrics(str(directory)):
        # The split first; TFMA sorts by name.
        keys = sorted(metrics.slice_key.single_slice_keys, key=lambda key: key.column != SPLIT)
        slice_name = ",".join(map(_slice_name, keys))
        for item in metrics.metric_keys_and_values:
            if not item.key.HasField("sub_key") or item.key.is_diff:
                continue
            # TFMA leaves the model's name out where there is only one model.
            model = item.key.model_name or CANDIDATE
            scores = found.setdefault((model, slice_name), {})
            class_id = item.key.sub_key.class_id.value
            scores.setdefault(class_id, {})[item.key.name] = item.value.double_value.value

    results: dict[str, ModelResults] = {}
    for (model, slice_name), scores in sorted(found.items()):
        if sorted(scores) != list(range(len(classes))):
            raise CxrflowError(
                f"The evaluation in {directory} is about {len(scores)} classes, not about these "
                f"{len(classes)}: evaluate the model again."
            )
        results.setdefault(model, {})[slice_name] = tuple(
            _class_result(name, scores[i]) for i, name in enumerate(classes)
        )
    if CANDIDATE not in results:
        raise CxrflowError(f"The evaluation in {directory} is empty: have the splits images?")
    return results


def _slice_name(key: Any) -> str:
    value = getattr(key, key.WhichOneof("kind"))
    return f"{key.column}={value.decode() if isinstance(value, bytes) else value}"


def _class_result(name: str, scores: dict[str, float]) -> ClassResult:
    """A figure that was not computed is NaN, which fails at the gate."""
    missing = {f.name: math.nan for f in fields(ClassResult) if f.type is float}
    counts = {key: int(scores.get(key, 0)) for key in ("positives", "negatives")}
    known: dict[str, Any] = {**missing, **scores, **counts}
    return ClassResult(name=name, **known)
