"""The node that publishes a blessed model."""

from tfx.components import Pusher as TfxPusher
from tfx.dsl.components.base import executor_spec

from components.publish.executor import Executor


class Pusher(TfxPusher):
    """TFX's Pusher with our crash-safe executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
