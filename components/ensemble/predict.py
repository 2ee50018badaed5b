"""What members say about transformed examples; each image is decoded once for all of them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cxrflow.components.ensemble.compare import Predictions
from cxrflow.components.ensemble.graph import Members
from cxrflow.components.images.records import split_records
from cxrflow.components.train.inputs import model_images, to_pixels
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import IMAGE_ID, PATIENT_ID, T_IMAGE, T_LABELS
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.progress import report


def predict(
    members: Members, paths: Sequence[str], compact: CompactFormat, batch_size: int
) -> Predictions:
    """Predictions for the transformed examples in these TFRecords (gzip if named .gz).

    Raises CxrflowError if there are none.
    """
    spec = {
        T_IMAGE: tf.io.FixedLenFeature([], tf.string),
        T_LABELS: tf.io.FixedLenFeature([members.classes], tf.float32),
        PATIENT_ID: tf.io.FixedLenFeature([], tf.string),
        IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_example(serialized, spec)
        images = model_images(
            example[T_IMAGE], compact.encoding, compact.image_size, members.image_size
        )
        ids = example[PATIENT_ID], example[IMAGE_ID]
        return to_pixels(images), example[T_LABELS], *ids

    batches = []
    dataset = split_records(paths).batch(batch_size).map(parse, tf.data.AUTOTUNE).prefetch(2)
    for pixels, labels, patients, ids in dataset:
        log_odds = members.log_odds(pixels).numpy()
        batches.append((log_odds, labels.numpy(), patients.numpy(), ids.numpy()))
        report(sum(len(batch[1]) for batch in batches), None, "images")
    if not batches:
        raise CxrflowError("an ensemble needs eval and test images; give more data")
    log_odds, *columns = zip(*batches, strict=True)
    labels, patients, ids = map(np.concatenate, columns)
    return Predictions(
        np.concatenate(log_odds, axis=1), labels, patients.astype(str), ids.astype(str)
    )
