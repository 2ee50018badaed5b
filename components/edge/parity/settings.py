"""What the EdgeEvaluator node is told."""

from cxrflow.components.edge.export.settings import EdgeConfig
from cxrflow.schema.settings import settings


@settings
class EdgeEvaluatorSettings:
    """Settings of EdgeEvaluator."""

    edge: EdgeConfig
    """How many images, and what variants must keep."""
    untaught: str = ""
    """Member whose recipe the model has, where an ensemble taught the model."""
