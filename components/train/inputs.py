"""Input pipelines: transformed examples -> stored images -> batches for training and evaluation."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from components.progress import report
from components.train.augment import augment
from components.train.recipe import TrainConfig
from components.train.store import Stored
from components.transform.images import decode_compact, to_square
from schema.errors import CxrflowError
from schema.features import T_IMAGE, T_LABELS

_READ_BATCH = 64


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


def augmented_pixels(images: tf.Tensor, seed: tf.Tensor, recipe: TrainConfig) -> tf.Tensor:
    """Gray images [N, S, S, 1] to float32 [N, S, S, 3], changed at random as the recipe says."""
    return to_pixels(
        augment(images, seed, recipe.rotation, recipe.shift, recipe.zoom, recipe.contrast)
    )


def read_transformed(
    patterns: Sequence[str], encoding: str, compact_size: int, image_size: int, classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of uint8 [n, S, S, 1] and k-hot float32 [n, C] from TFRecords (gzip if named .gz).

    The order is that of the sorted file names and of the records in them. Raises CxrflowError if
    there are none.
    """
    spec = {
        T_IMAGE: tf.io.FixedLenFeature([], tf.string),
        T_LABELS: tf.io.FixedLenFeature([classes], tf.float32),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_example(serialized, spec)
        images = model_images(example[T_IMAGE], encoding, compact_size, image_size)
        return images, example[T_LABELS]

    done = 0
    for path in sorted({path for pattern in patterns for path in tf.io.gfile.glob(pattern)}):
        records = tf.data.TFRecordDataset(path, "GZIP" if path.endswith(".gz") else "")
        batches = records.batch(_READ_BATCH).map(parse, tf.data.AUTOTUNE).prefetch(1)
        for images, labels in batches.as_numpy_iterator():
            done += len(labels)
            report(done, None, "images")
            yield images, labels
    if not done:
        raise CxrflowError(f"no transformed examples under {', '.join(patterns)}; run Transform")


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Full batches only: a batch norm over a few left-over images is noise."""
    return max(1, examples // batch_size)


def training_batches(
    stored: Stored,
    recipe: TrainConfig,
    first_epoch: int,
    prepare: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.data.Dataset:
    """(inputs, labels, weights) of all epochs from `first_epoch` on.

    `prepare` gets inputs and a seed [2].

    Order and seeds of an epoch depend on the recipe's seed and the epoch's number only, so that a
    resumed run sees what the uninterrupted one would have seen.
    """
    steps = steps_per_epoch(len(stored), recipe.batch_size)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for epoch in range(first_epoch, recipe.epochs):
            random = np.random.default_rng([recipe.seed, epoch])
            order = random.permutation(len(stored))
            views = random.integers(stored.views, size=len(stored))
            for step in range(steps):
                images = order[step * recipe.batch_size :][: recipe.batch_size]
                seed = np.array([recipe.seed, epoch * steps + step], np.int64)
                yield stored.take(images, views[images]), stored.labels[images], seed

    signature = (*_signature(stored), tf.TensorSpec([2], tf.int64))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    dataset = dataset.apply(
        tf.data.experimental.assert_cardinality((recipe.epochs - first_epoch) * steps)
    )

    def prepared(x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        has_finding = tf.reduce_any(y > 0, axis=1)
        return prepare(x, seed), y, tf.where(has_finding, 1.0, recipe.normal_weight)

    return dataset.map(prepared, tf.data.AUTOTUNE).prefetch(2)


def evaluation_batches(
    stored: Stored, batch_size: int, prepare: Callable[[tf.Tensor], tf.Tensor]
) -> tf.data.Dataset:
    """The inputs of the first view in their stored order."""

    starts = range(0, len(stored), batch_size)

    def batches() -> Iterator[np.ndarray]:
        for start in starts:
            yield stored.take(range(start, min(start + batch_size, len(stored))))

    dataset = tf.data.Dataset.from_generator(batches, output_signature=_signature(stored)[0])
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(starts)))
    return dataset.map(prepare, tf.data.AUTOTUNE).prefetch(2)


def _signature(stored: Stored) -> tuple[tf.TensorSpec, tf.TensorSpec]:
    return (
        tf.TensorSpec([None, *stored.row], stored.dtype),
        tf.TensorSpec([None, stored.labels.shape[1]], stored.labels.dtype),
    )
