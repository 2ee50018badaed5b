"""What an experiment found: every trial's curve on eval, as a JSON file."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.components.study.plan import Values
from cxrflow.components.study.settings import Experiment
from cxrflow.schema.errors import CxrflowError

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "trials.json"


@dataclass(frozen=True)
class Point:
    """Scores on eval after so many training images."""

    images: int
    eval_loss: float  # mean binary cross-entropy, nats
    eval_auc: float  # mean over the classes that have one


@dataclass(frozen=True)
class TrialResult:
    """One training."""

    values: Values
    curve: tuple[Point, ...]  # empty for a failed trial
    seconds: float | None  # None where the trial was killed and went on later
    failure: str = ""  # why it didn't come to its end

    @property
    def best_auc(self) -> float:
        """The highest on the curve, which a training keeps the weights of."""
        return max(point.eval_auc for point in self.curve)

    @property
    def best_loss(self) -> float:
        """The lowest on the curve."""
        return min(point.eval_loss for point in self.curve)


@dataclass(frozen=True)
class ExperimentResult:
    """All trials of an experiment in the order of its grid."""

    experiment: Experiment
    recipe: dict[str, Any]  # that the trials change
    images_seen: int
    train_images: int
    eval_images: int
    synthetic: bool
    trials: tuple[TrialResult, ...]

    def find(self, **values: Any) -> TrialResult | None:
        """The trial with these values; None if there is none."""
        return next((trial for trial in self.trials if trial.values == values), None)


def write_results(folder: Path, result: ExperimentResult) -> None:
    """Writes `trials.json` into the folder."""
    text = json.dumps(dataclasses.asdict(result), indent=1)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_results(folder: Path) -> ExperimentResult:
    """Reads what `write_results` wrote. Raises CxrflowError if it isn't there."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise CxrflowError(f"{path} is missing: repeat the study in another --root")
    found = json.loads(path.read_text(encoding="utf-8"))
    trials = (
        TrialResult(**trial | {"curve": tuple(Point(**point) for point in trial["curve"])})
        for trial in found["trials"]
    )
    return ExperimentResult(**found | {"trials": tuple(trials)})


def as_frame(result: ExperimentResult) -> "pd.DataFrame":
    """A row for every evaluation of every trial; a failed trial has one row without scores."""
    import pandas as pd

    rows = [
        {"experiment": result.experiment, "synthetic": result.synthetic}
        | trial.values
        | (dataclasses.asdict(point) if point else {})
        | {"seconds": trial.seconds, "failure": trial.failure}
        for trial in result.trials
        for point in (trial.curve or (None,))
    ]
    return pd.DataFrame(rows)
