"""The gate's verdict on a model, and the file that keeps it for those without TensorFlow.

`verdict.json` is the dataclass `Verdict` below, field by field, with null for NaN ("there is no
such figure"). Figures with an interval are `{"value", "low", "high"}`, 95 %, patients resampled.
A member's verdict has no intervals, and nothing from `summary` on but that and `not_judged`.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from cxrflow.components.evaluate.results import ClassResult, ModelResults, whole
from cxrflow.components.evaluate.statistics.draws import UNKNOWN, Estimate
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole
from cxrflow.schema.portable.scores import mean_auc

FILE_NAME = "verdict.json"

Status = Literal["passed", "failed", "not judged"]


@dataclass(frozen=True)
class Change:
    """A figure less the last blessed model's on the same images, and what that shows."""

    value: float
    low: float
    high: float
    margin: float  # by which it may be worse
    # worse: by more than the margin, and by more than chance; not worse: the whole interval is
    # within the margin; undecided: too few patients to tell.
    finding: Literal["worse", "not worse", "undecided"]


@dataclass(frozen=True)
class ClassVerdict:
    """What the gate says about one class."""

    result: ClassResult  # as TFX's Evaluator found it, over all of the split
    status: Status
    reason: str  # empty where it passes
    min_auc: float  # the bar
    auc: Estimate = UNKNOWN
    delong: Estimate = UNKNOWN  # the same AUC with DeLong's interval, as a cross-check
    ece: Estimate = UNKNOWN  # the interval is free of the bootstrap's bias, and may pass 0
    ece_by_chance: float = math.nan  # that of right probabilities, as the images are so few
    brier: Estimate = UNKNOWN
    brier_of_share: float = math.nan  # Brier score of the class's share on eval, said of all images
    positive_patients: int = 0
    negative_patients: int = 0
    against_last: dict[str, Change] = field(default_factory=dict)  # by metric: auc, ece, brier


@dataclass(frozen=True)
class FloorVerdict:
    """The model against a baseline, on eval, by the mean AUC of the classes that both have."""

    name: str  # probe, metadata or shuffled
    auc: float  # the baseline's
    model_auc: float
    difference: Estimate  # the model's less the baseline's, paired
    required: bool  # that the model beats it
    beaten: bool  # it was judged, and the whole interval lies above 0
    judged: bool = True  # some class has enough patients


@dataclass(frozen=True)
class Difference:
    """The model against another one on a split, by the mean AUC of the classes that both have."""

    name: str  # of the other: probe, metadata, a member
    split: str  # test, eval, or out_of_fold (train and eval, by models of other patients)
    auc: float  # the other's
    model_auc: float
    difference: Estimate  # the model's less the other's, paired


@dataclass(frozen=True)
class SubgroupVerdict:
    """The model on one group of patients against all others, by the mean AUC of some classes."""

    attribute: str  # sex, view, age_band or a described source's further slice
    group: str
    images: int
    patients: int
    status: Status
    reason: str
    auc: Estimate = UNKNOWN  # in the group
    gap: Estimate = UNKNOWN  # that less the others'; below 0: worse
    classes: dict[str, Estimate] = field(default_factory=dict)  # AUC in the group, of those judged


@dataclass(frozen=True)
class ReferenceVerdict:
    """A source of published figures that was set as lower bounds."""

    source: str
    comparable: bool
    reason: str  # why it isn't, or by what it is


@dataclass(frozen=True)
class Verdict:
    """What the gate says about one model, judged on one split."""

    name: str  # of the member, or "ensemble"
    split: str
    blessed: bool
    reasons: tuple[str, ...]  # why it isn't blessed
    synthetic: bool  # the figures stem from phantoms
    classes: tuple[ClassVerdict, ...]
    mean_auc: float  # of all classes that have positives and negatives in the split
    baseline: str  # the last blessed model's folder; empty without one
    slices: ModelResults  # scores by slice, other splits included
    summary: str = ""  # one sentence
    judged_by: tuple[str, ...] = ()  # sentences
    not_judged: tuple[str, ...] = ()  # what, and why
    images: int = 0
    patients: int = 0
    judged_auc: Estimate = UNKNOWN  # mean of the classes that were judged; likewise the next three
    judged_ece: Estimate = UNKNOWN
    judged_ece_by_chance: float = math.nan
    judged_brier: Estimate = UNKNOWN
    against_last: dict[str, Change] = field(default_factory=dict)  # of these means, by metric
    floor: tuple[FloorVerdict, ...] = ()
    differences: tuple[Difference, ...] = ()  # probe, metadata and best member: told, not judged
    subgroups: tuple[SubgroupVerdict, ...] = ()
    references: tuple[ReferenceVerdict, ...] = ()

    @property
    def judged(self) -> tuple[ClassVerdict, ...]:
        """The classes that were judged."""
        return tuple(item for item in self.classes if item.status != "not judged")

    def results(self, split: str) -> tuple[ClassResult, ...]:
        """The classes' scores over all of a split; empty where it wasn't evaluated."""
        if split == self.split:
            return tuple(item.result for item in self.classes)
        return self.slices.get(whole(split), ())

    def mean_auc_of(self, split: str) -> float:
        """Mean AUC of a split's classes that have one; NaN if none has."""
        return mean_auc(result.auc for result in self.results(split))


def write_verdict(verdict: Verdict, directory: Path) -> Path:
    """Writes `verdict.json`, whole or not at all, with null for NaN, and returns its path."""
    path = directory / FILE_NAME
    text = json.dumps(_nan_to_none(asdict(verdict)), indent=1, allow_nan=False) + "\n"
    write_whole(path, text)
    return path


def read_verdict(path: Path) -> Verdict:
    """Reads `verdict.json`.

    Raises:
        CxrflowError: the file is missing or not a verdict of this version.
    """
    try:
        return TypeAdapter(Verdict).validate_python(_none_to_nan(json.loads(path.read_text())))
    except FileNotFoundError:
        raise CxrflowError(f"There is no verdict at {path}: the gate hasn't run.") from None
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise CxrflowError(f"{path} is not a verdict ({first}): run the pipeline again.") from error


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nan_to_none(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _none_to_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _none_to_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_none_to_nan(v) for v in value]
    return math.nan if value is None else value
