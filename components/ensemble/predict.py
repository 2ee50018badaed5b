"""What members say about transformed examples; each image is decoded once for all of them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cxrflow.components.ensemble.compare import Predictions
from cxrflow.components.ensemble.graph import Members
from cxrflow.components.images.records import split_records
from cxrflow.components.score.files import Table
from cxrflow.components.score.predict import table_columns, table_features
from cxrflow.components.train.inputs import model_images, to_pixels
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import T_IMAGE
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.progress import report


def predict(
    members: Members, paths: Sequence[str], compact: CompactFormat, batch_size: int
) -> Predictions:
    """Predictions for the transformed examples in these TFRecords (gzip if named .gz).

    Raises CxrflowError if there are none.
    """
    spec = {T_IMAGE: tf.io.FixedLenFeature([], tf.string), **table_features(members.classes)}

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        example = tf.io.parse_example(serialized, spec)
        images = model_images(
            example[T_IMAGE], compact.encoding, compact.image_size, members.image_size
        )
        return to_pixels(images), table_columns(example)

    batches, tables = [], []
    dataset = split_records(paths).batch(batch_size).map(parse, tf.data.AUTOTUNE).prefetch(2)
    for pixels, columns in dataset:
        batches.append(members.log_odds(pixels).numpy())
        tables.append({name: values.numpy() for name, values in columns.items()})
        report(sum(batch.shape[1] for batch in batches), None, "images")
    if not batches:
        raise CxrflowError("an ensemble needs eval and test images; give more data")
    images = Table.joined(tables)
    log_odds = np.concatenate(batches, axis=1)
    return Predictions(
        log_odds, images.labels.astype(np.float32), images.patient_id, images.image_id, images
    )
