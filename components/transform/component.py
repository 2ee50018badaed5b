"""The Transform node."""

from tfx.types.standard_artifacts import Examples, Schema, TransformGraph

from cxrflow.components.node import Input, Node, Output
from cxrflow.components.transform.executor import Executor
from cxrflow.components.transform.settings import TransformSettings


class Transform(Node):
    """Turns raw examples into compact images, k-hot labels and slice features.

    Outputs are those of TFX's Transform:
        transform_graph: for tft.TFTransformOutput; also has the training split's label counts,
            see `preprocessing.prevalence`.
        transformed_examples: uncompressed TFRecords, splits as in `examples`.
    """

    EXECUTOR = Executor
    SETTINGS = TransformSettings

    examples: Input[Examples]  # raw, split train among them
    records: Input[Examples]  # the same without `image/encoded`; all that the analysis needs
    schema: Input[Schema]  # the raw examples'
    transform_graph: Output[TransformGraph]
    transformed_examples: Output[Examples]
