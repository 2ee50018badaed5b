"""Transformed examples as a network's pixels, with what is known of each image beside them."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from cxrflow.components.images.pixels import model_images, to_pixels
from cxrflow.components.score.predict import as_arrays, table_columns, table_features
from cxrflow.components.transform.settings import TransformConfig
from cxrflow.schema.features import T_IMAGE
from cxrflow.schema.model_json import CompactFormat


def pixel_batches(
    records: tf.data.Dataset,
    compact: CompactFormat | TransformConfig,
    image_size: int,
    classes: int,
    batch_size: int,
    slices: Sequence[str] = (),
) -> Iterator[tuple[tf.Tensor, dict[str, np.ndarray]]]:
    """Pixels float32 [n, S, S, 3], 0 to 255, and columns by the names of `COLUMNS`.

    Args:
        records: serialized transformed examples.
        compact: the form of their images.
        image_size: S.
        classes: of their labels.
        batch_size: n, but for the last batch.
        slices: features of further groups.
    """
    spec = {T_IMAGE: tf.io.FixedLenFeature([], tf.string), **table_features(classes, slices)}

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        example = tf.io.parse_example(serialized, spec)
        images = model_images(example[T_IMAGE], compact.encoding, compact.image_size, image_size)
        return to_pixels(images), table_columns(example)

    for pixels, columns in records.batch(batch_size).map(parse, tf.data.AUTOTUNE).prefetch(2):
        yield pixels, as_arrays(columns)
