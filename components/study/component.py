"""The node that runs one experiment of the study."""

from tfx.components import Tuner as TfxTuner
from tfx.dsl.components.base import executor_spec

from cxrflow.components.study.executor import Executor


class Tuner(TfxTuner):
    """TFX's Tuner with our executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
