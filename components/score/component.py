"""The Scorer node."""

from tfx.types.standard_artifacts import Examples, Model

from cxrflow.components import artifacts
from cxrflow.components.node import Input, Node, Output
from cxrflow.components.score.executor import Executor
from cxrflow.components.score.settings import ScorerSettings


class Scorer(Node):
    """Asks a model about each image of the splits, once; see `files` for what is written.

    The ensemble node writes the same of the models that it has asked anyway.
    """

    EXECUTOR = Executor
    SETTINGS = ScorerSettings

    model: Input[Model] | None  # without one, as before the first blessing, nothing is scored
    examples: Input[Examples]  # Transform's
    scores: Output[artifacts.Scores]
