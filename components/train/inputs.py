"""Input pipelines: transformed examples -> stored images -> batches for training and evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from cxrflow.components.images.pixels import to_pixels, transformed_parser
from cxrflow.components.images.records import split_records
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train.augment import augment
from cxrflow.components.train.source import Inputs
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import report

_READ_BATCH = 64


def augmented_pixels(images: tf.Tensor, seed: tf.Tensor, recipe: TrainConfig) -> tf.Tensor:
    """Gray images [N, S, S, 1] to float32 [N, S, S, 3], changed at random as the recipe says."""
    return to_pixels(
        augment(
            images,
            seed,
            recipe.rotation,
            recipe.shift,
            recipe.zoom,
            recipe.contrast,
            recipe.flip,
        )
    )


def read_transformed(
    patterns: Sequence[str], encoding: str, compact_size: int, image_size: int, classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of uint8 [n, S, S, 1] and k-hot float32 [n, C] from TFRecords.

    The order is that of the sorted file names and of the records in them. Raises CxrflowError if
    there are none.
    """
    parse = transformed_parser(encoding, compact_size, image_size, classes)
    done = 0
    paths = {path for pattern in patterns for path in tf.io.gfile.glob(pattern)}
    batches = split_records(paths).batch(_READ_BATCH).map(parse, tf.data.AUTOTUNE).prefetch(1)
    for images, labels in batches.as_numpy_iterator():
        done += len(labels)
        report(done, None, "images")
        yield images, labels
    if not done:
        raise CxrflowError(f"no transformed examples under {', '.join(patterns)}; run Transform")


@dataclass(frozen=True)
class Steps:
    """How many batches a training takes."""

    batch: int  # images
    epoch: int
    total: int

    @property
    def epochs(self) -> int:
        """How many, the last of which may be shorter."""
        return -(-self.total // self.epoch)


def count_steps(recipe: TrainConfig, images: int) -> Steps:
    """Full batches only, as a batch norm over a few left-over images is noise, and whole updates.

    Without accumulation, a batch that is larger than the split is the split. Raises CxrflowError
    if an epoch has no whole update.
    """
    accumulated = recipe.accumulation_steps
    batch = min(recipe.batch_size, images) if accumulated == 1 else recipe.batch_size
    epoch_images = recipe.epoch_images or images
    updates = epoch_images // (batch * accumulated)
    if not updates:
        raise CxrflowError(
            f"an epoch of {epoch_images} training images has no update of train.accumulation_steps "
            f"{accumulated} × train.batch_size {batch}; lower one of them"
        )
    total = recipe.epochs * updates
    if recipe.images_seen:
        total = max(1, round(recipe.images_seen / (batch * accumulated)))
    return Steps(batch, updates * accumulated, total * accumulated)


def training_batches(
    source: Inputs,
    recipe: TrainConfig,
    first_epoch: int,
    prepare: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.data.Dataset:
    """(inputs, targets, weights) of all epochs from `first_epoch` on.

    `prepare` gets inputs and a seed [2].

    Order and seeds of an epoch depend on the recipe's seed and the epoch's number only, so that a
    resumed run sees what the uninterrupted one would have seen.
    """
    steps = count_steps(recipe, len(source))
    first_step = first_epoch * steps.epoch
    passes = -(-steps.epoch * steps.batch // len(source))  # more than 1 with epoch_images
    images, views = [], []
    for epoch in range(first_epoch, steps.epochs):
        random = np.random.default_rng([recipe.seed, epoch])
        order = np.concatenate([random.permutation(len(source)) for _ in range(passes)])
        images.append(order[: steps.epoch * steps.batch])
        views.append(random.integers(source.views, size=len(source))[images[-1]])
    rows = (steps.total - first_step) * steps.batch
    order, view = (np.concatenate(each)[:rows].astype(np.int64) for each in (images, views))
    numbers = np.arange(first_step, steps.total)
    seeds = np.stack([np.full_like(numbers, recipe.seed), numbers], axis=1)
    labels, targets = tf.constant(source.labels), tf.constant(source.targets)

    def prepared(inputs: tf.Tensor, images: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        has_finding = tf.reduce_any(tf.gather(labels, images) > 0, axis=1)
        weights = tf.where(has_finding, 1.0, recipe.normal_weight)
        return prepare(inputs, seed), tf.gather(targets, images), weights

    batches = tf.data.Dataset.zip(
        _read(source, order, view, steps.batch),
        tf.data.Dataset.from_tensor_slices(order).batch(steps.batch),
        tf.data.Dataset.from_tensor_slices(seeds),
    )
    return (
        batches.map(prepared, tf.data.AUTOTUNE)
        .apply(tf.data.experimental.assert_cardinality(len(seeds)))
        .prefetch(2)
    )


def evaluation_batches(
    source: Inputs, batch_size: int, prepare: Callable[[tf.Tensor], tf.Tensor]
) -> tf.data.Dataset:
    """The inputs of the first view in their order."""
    rows = np.arange(len(source))
    batches = _read(source, rows, np.zeros_like(rows), batch_size).map(prepare, tf.data.AUTOTUNE)
    count = -(-len(source) // batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2)


def _read(
    source: Inputs, images: np.ndarray, views: np.ndarray, batch_size: int
) -> tf.data.Dataset:
    """Batches of these images' inputs [N, *row]; TensorFlow itself can't seek in a file."""

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            yield source.read(images[rows], views[rows])

    encoded, decoded = tf.TensorSpec([None], tf.string), [None, *source.row]
    spec = encoded if source.encoded else tf.TensorSpec(decoded, source.dtype)
    read = tf.data.Dataset.from_generator(batches, output_signature=spec)
    return read.map(source.decode, tf.data.AUTOTUNE) if source.encoded else read
