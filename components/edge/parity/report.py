"""What the edge evaluation found, and the file that keeps it, for those without TensorFlow.

parity_report.json holds the fields of `ParityReport`, null where there is no figure, and `summary`,
its one line.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.components.evaluate.statistics.draws import CONFIDENCE
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole

FILE_NAME = "parity_report.json"


@dataclass(frozen=True)
class ClassParity:
    """One class: AUC of a variant, of its source, and what lies between them."""

    source_auc: float | None  # None where eval lacks positives or negatives
    auc: float | None
    difference: float | None  # auc - source_auc
    interval: tuple[float, float] | None  # of the difference


@dataclass(frozen=True)
class DecisionParity:
    """Decisions of a variant that aren't its source's, of one class or of all."""

    decisions: int  # but for those of images that a threshold was taken from
    changed: int
    share: float
    interval: tuple[float, float] | None  # of the share, by draws of patients
    added: int  # positive where the source says negative
    removed: int


@dataclass(frozen=True)
class PointParity:
    """Decisions at one operating point."""

    total: DecisionParity
    images: int
    images_changed: int  # that have another set of findings
    classes: dict[str, DecisionParity] = field(default_factory=dict)  # those with a threshold


@dataclass(frozen=True)
class VariantReport:
    """One variant; figures are None where it didn't run."""

    file: str
    bytes: int
    # float, judged by its largest difference, or quantized, by its decisions and its mean AUC
    kind: str
    reasons: tuple[str, ...] = ()  # why it isn't blessed
    max_difference: float | None = None  # of a probability from the source's
    mean_difference: float | None = None  # absolute, over images and classes
    mean: ClassParity | None = None  # of the AUCs, over the classes that have one
    classes: dict[str, ClassParity] = field(default_factory=dict)
    points: dict[str, PointParity] = field(default_factory=dict)  # by operating point
    # Its own, as model.json's; None where it decides by its source's. With its own, `points` tells
    # of patients that they weren't fitted on.
    thresholds: Mapping[str, Any] | None = None
    max_decision_change: float | None = None  # allowed; None of a float variant

    @property
    def decision_change(self) -> float | None:
        """Share of the decisions that aren't the source's, where it is largest."""
        return max((one.total.share for one in self.points.values()), default=None)

    @property
    def blessed(self) -> bool:
        """Whether nothing speaks against the variant."""
        return not self.reasons

    @property
    def mean_auc_loss(self) -> float | None:
        """How far the mean AUC is below the source's; negative where it is above."""
        if self.mean is None or self.mean.difference is None:
            return None
        return -self.mean.difference


@dataclass(frozen=True)
class Lesson:
    """The source, which an ensemble taught, against the member with its recipe: mean AUCs.

    Both are SavedModels' before conversion; a variant's own loss is its `mean_auc_loss`.
    """

    split: str  # test or eval
    untaught: str  # the member
    untaught_auc: float
    auc: float
    difference: float  # paired
    interval: tuple[float, float]  # of the difference, by draws of patients

    @property
    def line(self) -> str:
        """For the terminal."""
        low, high = self.interval
        return (
            f"on {self.split} {self.auc:.3f}, {self.untaught} untaught {self.untaught_auc:.3f}, "
            f"difference {self.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        )


@dataclass(frozen=True)
class ParityReport:
    """All variants of a bundle against the model that they come from."""

    model: str  # the source's name
    synthetic: bool  # the images are phantoms
    reason: str = ""  # why nothing was evaluated; empty otherwise
    images: int = 0  # of eval
    patients: int = 0
    draws: int = 0  # of patients, for the intervals
    interval: float = CONFIDENCE
    max_difference: float = 0.0  # allowed of a float variant
    max_auc_loss: float = 0.0  # allowed of a quantized variant
    max_class_decision_change: float = 0.0  # allowed of a quantized variant, in each class
    decision_folds: int = 0  # of patients, for thresholds of a variant's own
    positives: dict[str, int] = field(default_factory=dict)  # by class
    variants: dict[str, VariantReport] = field(default_factory=dict)
    lessons: tuple[Lesson, ...] = ()  # of a distilled model

    @property
    def blessed(self) -> list[str]:
        """Names of the variants that may be pushed."""
        return [name for name, variant in self.variants.items() if variant.blessed]

    @property
    def line(self) -> str:
        """The outcome for the terminal."""
        synthetic = " (synthetic X-rays)" if self.synthetic else ""
        if self.reason:
            return f"edge bundle: none: {self.reason}{synthetic}"
        text = f"edge bundle: {len(self.blessed)} of {len(self.variants)} variants blessed"
        failed = [
            f"{name} not: {variant.reasons[0]}"
            for name, variant in self.variants.items()
            if not variant.blessed
        ]
        taught = [
            f"taught by the ensemble: mean AUC before conversion {lesson.line}"
            for lesson in self.lessons
        ]
        return "; ".join([text, *failed, *taught]) + synthetic


def write_report(report: ParityReport, directory: Path) -> None:
    """Writes parity_report.json, whole or not at all."""
    fields = asdict(report)
    for name, variant in report.variants.items():
        fields["variants"][name]["blessed"] = variant.blessed
    content = {"summary": report.line, **fields}
    write_whole(directory / FILE_NAME, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_report(directory: Path) -> ParityReport:
    """Reads what `write_report` wrote.

    Raises:
        CxrflowError: it isn't there or can't be read.
    """
    path = directory / FILE_NAME
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        del fields["summary"]
        variants = {name: _variant(found) for name, found in fields.pop("variants").items()}
        lessons = tuple(
            Lesson(**{**found, "interval": tuple(found["interval"])})
            for found in fields.pop("lessons", [])
        )
        return ParityReport(**fields, variants=variants, lessons=lessons)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CxrflowError(f"{path} can't be read ({error}): run the pipeline again") from error


def _variant(fields: dict) -> VariantReport:
    del fields["blessed"]
    points = {name: _point(found) for name, found in fields.pop("points", {}).items()}
    mean = fields.pop("mean")
    classes = {name: _class(found) for name, found in fields.pop("classes").items()}
    reasons = tuple(fields.pop("reasons"))
    return VariantReport(
        **fields,
        reasons=reasons,
        mean=None if mean is None else _class(mean),
        classes=classes,
        points=points,
    )


def _point(fields: dict) -> PointParity:
    total = _decisions(fields.pop("total"))
    classes = {name: _decisions(found) for name, found in fields.pop("classes").items()}
    return PointParity(**fields, total=total, classes=classes)


def _decisions(fields: dict) -> DecisionParity:
    interval = fields.pop("interval")
    return DecisionParity(**fields, interval=None if interval is None else tuple(interval))


def _class(fields: dict) -> ClassParity:
    interval = fields.pop("interval")
    return ClassParity(**fields, interval=None if interval is None else tuple(interval))
