"""The Baselines node."""

from tfx.types.standard_artifacts import Examples

from cxrflow.components import artifacts
from cxrflow.components.floor.executor import Executor
from cxrflow.components.floor.settings import BaselinesSettings
from cxrflow.components.node import Input, Node, Output


class Baselines(Node):
    """The floor: what simple models say of the run's own eval and test.

    Linear probe on frozen features, metadata alone, and the probe with shuffled labels; `scores` as
    any model's.
    """

    EXECUTOR = Executor
    SETTINGS = BaselinesSettings

    examples: Input[Examples]  # Transform's
    scores: Output[artifacts.Scores]
