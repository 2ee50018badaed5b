"""What a run's baselines reach on test, read from their scores."""

from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.floor.settings import METADATA, PROBE, SHUFFLED
from cxrflow.components.score.files import read_scores
from cxrflow.pipeline.record import Run
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.scores import mean_auc

NODE = "Baselines"


@dataclass(frozen=True)
class Baseline:
    """AUCs of one baseline."""

    name: str  # probe, metadata or shuffled
    note: str  # how it was fitted
    test_auc: dict[str, float]  # by class; NaN where test lacks positives or negatives

    @property
    def test_mean_auc(self) -> float:
        """Mean over the classes that have an AUC; NaN if none has."""
        return mean_auc(self.test_auc.values())


def baselines(run: Run) -> list[Baseline]:
    """The baselines that the run computed on its own split.

    Raises:
        CxrflowError: the run is older than they are, or their files are gone.
    """
    if NODE not in run.artifacts:
        raise CxrflowError(
            "this run is of an older cxrflow, which computed no baselines: run the pipeline again"
        )
    folder = Path(run.artifacts[NODE]["scores"])
    return [_baseline(folder, name) for name in (PROBE, METADATA, SHUFFLED)]


def _baseline(folder: Path, name: str) -> Baseline:
    from cxrflow.components.model.metrics import per_class_auc  # loads scikit-learn

    scores = read_scores(folder, name, "test")
    aucs = per_class_auc(scores.images.labels, scores.probabilities)
    return Baseline(name, scores.note, dict(zip(scores.classes, map(float, aucs), strict=True)))
