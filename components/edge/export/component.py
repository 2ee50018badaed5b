"""The EdgeExport node."""

from tfx.types.standard_artifacts import Examples, Model

from cxrflow.components import artifacts
from cxrflow.components.edge.export.executor import Executor
from cxrflow.components.edge.export.settings import EdgeExportSettings
from cxrflow.components.node import Input, Node, Output


class EdgeExport(Node):
    """Converts a blessed model for the device.

    Output `candidate`, a folder with LiteRT, TensorFlow 2.7 and ONNX variants, golden answers and
    the device's scripts, which EdgeEvaluator judges.
    """

    EXECUTOR = Executor
    SETTINGS = EdgeExportSettings

    model: Input[Model]  # a Trainer's or the ensemble
    verdicts: Input[artifacts.Verdict]  # Gates', joined with `union`: all must say blessed
    examples: Input[Examples]  # ImageExampleGen's, with a split eval, for the golden images
    transformed_examples: Input[Examples]  # with a split train, for int8's ranges
    candidate: Output[artifacts.EdgeCandidate]
