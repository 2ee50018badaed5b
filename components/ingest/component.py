"""ImageExampleGen: the node that turns a folder of chest X-rays into raw tf.Examples."""

from tfx.types.standard_artifacts import Examples

from cxrflow.components import artifacts
from cxrflow.components.ingest.executor import Executor
from cxrflow.components.ingest.settings import IngestSettings
from cxrflow.components.node import Node, Output


class ImageExampleGen(Node):
    """Reads a data folder in Kaggle's layout.

    Outputs:
        examples: raw examples with the images' bytes; uncompressed TFRecords, since gzip does
            nothing for PNGs; splits train, eval and test, no patient in two of them.
        records: the same examples without `image/encoded`, for whoever needs no pixels.
        quarantine: what was set aside, and why.
    """

    EXECUTOR = Executor
    SETTINGS = IngestSettings

    examples: Output[Examples]
    records: Output[Examples]
    quarantine: Output[artifacts.Quarantine]
