"""The gate's verdict on a model, and the file that keeps it for those without TensorFlow."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cxrflow.components.evaluate.results import ClassResult, ModelResults, whole
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole
from cxrflow.schema.portable.scores import mean_auc

FILE_NAME = "verdict.json"


@dataclass(frozen=True)
class ClassVerdict:
    """What the gate says about one class."""

    result: ClassResult
    status: Literal["pass", "fail", "not gated"]
    reason: str  # empty where it passes
    min_auc: float
    auc_change: float  # against the last blessed model; NaN without one


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
    mean_auc_change: float  # of the gated classes, against the last blessed model; NaN without one
    baseline: str  # the last blessed model's folder; empty without one
    slices: ModelResults  # scores by slice, other splits included; not gated

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
        CxrflowError: the file is missing or not a verdict.
    """
    try:
        fields = _none_to_nan(json.loads(path.read_text()))
        classes = tuple(
            ClassVerdict(**{**c, "result": ClassResult(**c["result"])})
            for c in fields.pop("classes")
        )
        slices = {
            name: tuple(ClassResult(**r) for r in results)
            for name, results in fields.pop("slices").items()
        }
        reasons = tuple(fields.pop("reasons"))
        return Verdict(classes=classes, slices=slices, reasons=reasons, **fields)
    except FileNotFoundError:
        raise CxrflowError(f"There is no verdict at {path}: the gate hasn't run.") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CxrflowError(f"{path} is not a verdict ({error}): run the pipeline again.") from error


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
