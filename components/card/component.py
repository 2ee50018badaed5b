"""The ModelCard node."""

from tfx.types.standard_artifacts import Examples, Model, ModelRun

from cxrflow.components import artifacts
from cxrflow.components.card.executor import Executor
from cxrflow.components.card.settings import CardSettings
from cxrflow.components.node import Input, Node, Output


class ModelCard(Node):
    """Writes what a run knows of its model for people and machines.

    Outputs `card`, a folder with `model_card.md`, `model_card.html`, `metadata.json` and
    `sbom.cdx.json`, and `training_statistics.pb` for `cxrflow monitor`; Pusher puts them beside the
    model.
    """

    EXECUTOR = Executor
    SETTINGS = CardSettings

    model: Input[Model]  # the one that may be pushed
    verdict: Input[artifacts.Verdict]  # on it
    records: Input[Examples]  # ImageExampleGen's, with all splits, without pixels
    examples: Input[Examples]  # the same with pixels
    scores: Input[artifacts.Scores]  # of the model
    quarantine: Input[artifacts.Quarantine]
    networks: Input[artifacts.RecipeReport]
    model_runs: Input[ModelRun]  # of all Trainers
    baselines: Input[artifacts.Scores]  # of the simplest models
    ensemble: Input[artifacts.EnsembleReport] | None
    localisation: Input[artifacts.LocalisationReport] | None
    card: Output[artifacts.ModelCard]
