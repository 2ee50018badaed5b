"""The Ensemble node."""

from tfx.types.standard_artifacts import Examples, Model

from cxrflow.components import artifacts
from cxrflow.components.ensemble.executor import Executor
from cxrflow.components.ensemble.settings import EnsembleSettings
from cxrflow.components.node import Input, Node, Output


class Ensemble(Node):
    """Combines trained models into one that is served like any of them.

    Outputs `model`, a SavedModel with a Trainer's signatures, `report`, a folder with
    `ensemble.json`, and `scores`, of each member and of the ensemble.
    """

    EXECUTOR = Executor
    SETTINGS = EnsembleSettings

    models: Input[Model]  # Trainers', joined with `tfx.types.channel.union`
    verdicts: Input[artifacts.Verdict]  # Gates' on these models, joined likewise, in any order
    examples: Input[Examples]  # Transform's; eval for every choice, test is reported only
    model: Output[Model]
    report: Output[artifacts.EnsembleReport]
    scores: Output[artifacts.Scores]
