"""From compact images to a network's pixels, the same way in training and in service."""

from collections.abc import Callable

import tensorflow as tf

from cxrflow.components.images.decoding import decode_compact, to_square
from cxrflow.schema.features import T_IMAGE, T_LABELS


def model_images(
    compact: tf.Tensor, encoding: str, compact_size: int, image_size: int
) -> tf.Tensor:
    """Compact images, string [N], to what the network sees: uint8 [N, S, S, 1].

    The one way to pixels, for training and for every signature that takes encoded images.
    """
    return tf.map_fn(
        lambda one: to_square(decode_compact(one, encoding, compact_size, channels=1), image_size),
        compact,
        fn_output_signature=tf.TensorSpec([image_size, image_size, 1], tf.uint8),
    )


def to_pixels(images: tf.Tensor) -> tf.Tensor:
    """Gray images [N, S, S, 1] of any dtype to the network's float32 [N, S, S, 3], 0-255."""
    return tf.repeat(tf.cast(images, tf.float32), 3, axis=-1)


def transformed_parser(
    encoding: str, compact_size: int, image_size: int, classes: int
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Makes of tf.Examples, string [N], images, uint8 [N, S, S, 1], and labels, float32 [N, C]."""
    spec = {
        T_IMAGE: tf.io.FixedLenFeature([], tf.string),
        T_LABELS: tf.io.FixedLenFeature([classes], tf.float32),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_example(serialized, spec)
        images = model_images(example[T_IMAGE], encoding, compact_size, image_size)
        return images, example[T_LABELS]

    return parse
