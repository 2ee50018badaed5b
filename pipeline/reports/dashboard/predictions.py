"""What models said about each X-ray of a split, and intervals of the AUCs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cxrflow.components.evaluate.statistics.auc import drawn_aucs
from cxrflow.components.evaluate.statistics.draws import Draws, mean_of
from cxrflow.components.score.files import Scores, read_scores, scored_models
from cxrflow.pipeline.reports.dashboard.run_folder import SPLITS, RunFolder
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import report as report_progress

LAST_BLESSED = "last blessed"  # of a run before
DRAWS = 1000  # of patients, for the intervals that the report makes itself

Predictions = dict[str, dict[str, Scores]]  # by model, then split
Drawn = dict[str, dict[str, np.ndarray]]  # likewise


def find_predictions(run: RunFolder, classes: Sequence[str], why: dict[str, str]) -> Predictions:
    """Finds what all models said that a run scored; `why` gets a line for what can't be read."""
    found: Predictions = {}
    for node, outputs in sorted(run.artifacts.items()):
        folder = Path(outputs.get("scores", ""))
        for model in scored_models(folder) if "scores" in outputs else ():
            # The model to beat may have the same name as the one that is judged.
            name = LAST_BLESSED if node.endswith(".last_blessed") else model
            for split in SPLITS:
                try:
                    read = read_scores(folder, model, split)
                except CxrflowError as error:
                    why[f"scores of {name} on {split}"] = str(error)
                    continue
                if read.classes == tuple(classes):
                    found.setdefault(name, {})[split] = read
    return found


def draw_aucs(predictions: Predictions) -> Drawn:
    """AUC of each class on each draw of patients, [C, 1 + DRAWS], by model, then split.

    Models that were scored on the same patients have the same draws, whatever the order of their
    images, so that differences are paired.
    """
    found: Drawn = {}
    total = sum(map(len, predictions.values()))
    for name, by_split in predictions.items():
        for split, read in by_split.items():
            draws = Draws.of(read.images.patient_id, DRAWS)
            aucs = drawn_aucs(read.images.labels, read.probabilities, draws)
            found.setdefault(name, {})[split] = aucs
            report_progress(sum(map(len, found.values())), total, "intervals")
    return found


def mean_drawn(aucs: np.ndarray, shown: Sequence[bool]) -> np.ndarray:
    """Mean of the classes `shown` on each draw, [C, 1 + draws] -> [1 + draws]."""
    return mean_of(aucs[np.asarray(shown, bool)])
