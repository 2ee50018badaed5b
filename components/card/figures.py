"""What a card takes of verdict.json; what an older run's gate didn't write stays empty."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cxrflow.components.evaluate.verdict import FILE_NAME
from cxrflow.components.localise.report import Figure
from cxrflow.schema.errors import CxrflowError

UNKNOWN = Figure()


@dataclass(frozen=True)
class Scores:
    """A class on a slice, as TFX's Evaluator found it."""

    name: str
    positives: int
    negatives: int
    auc: float | None
    auc_precision_recall: float | None
    brier_score: float | None
    ece: float | None
    ece_uncalibrated: float | None
    brier_score_uncalibrated: float | None


@dataclass(frozen=True)
class ClassFigures:
    """A class on the split that decides."""

    result: Scores
    status: str
    reason: str
    auc: Figure = UNKNOWN
    ece: Figure = UNKNOWN
    ece_by_chance: float | None = None
    brier: Figure = UNKNOWN
    positive_patients: int | None = None


@dataclass(frozen=True)
class Difference:
    """The model against another one on a split."""

    name: str
    split: str
    auc: float | None
    model_auc: float | None
    difference: Figure


@dataclass(frozen=True)
class Floor:
    """The model against a baseline on eval, mean AUC of the classes that both have."""

    name: str  # probe, metadata or shuffled
    auc: float | None
    model_auc: float | None
    difference: Figure
    beaten: bool
    judged: bool = True


@dataclass(frozen=True)
class Subgroup:
    """One group of patients against all others."""

    attribute: str
    group: str
    images: int
    patients: int
    status: str
    reason: str = ""
    auc: Figure = UNKNOWN
    gap: Figure = UNKNOWN


@dataclass(frozen=True)
class Figures:
    """A verdict."""

    name: str
    split: str
    blessed: bool
    reasons: tuple[str, ...]
    synthetic: bool
    classes: tuple[ClassFigures, ...]
    mean_auc: float | None
    slices: dict[str, tuple[Scores, ...]]
    summary: str = ""
    judged_by: tuple[str, ...] = ()
    not_judged: tuple[str, ...] = ()
    images: int = 0
    patients: int = 0
    judged_auc: Figure = UNKNOWN
    floor: tuple[Floor, ...] = field(default=())
    differences: tuple[Difference, ...] = field(default=())
    subgroups: tuple[Subgroup, ...] = field(default=())

    @property
    def has_intervals(self) -> bool:
        """Whether the gate gave any."""
        return any(item.auc.low is not None for item in self.classes)


_ADAPTER = TypeAdapter(Figures)


def read_figures(folder: Path) -> Figures:
    """Reads the verdict in a folder. Raises CxrflowError if it isn't there or is none."""
    path = folder / FILE_NAME
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError:
        raise CxrflowError(f"There is no verdict at {path}: the gate hasn't run.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CxrflowError(f"{path} is not a verdict ({where}: {first['msg']}).") from None
