"""TFX's Evaluator, with an executor that reads all splits at once."""

from tfx import components
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from cxrflow.components.evaluate.together.executor import Executor


class Evaluator(components.Evaluator):
    """See tfx.components.Evaluator."""

    EXECUTOR_SPEC = BeamExecutorSpec(Executor)
