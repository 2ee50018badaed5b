"""Outputs of the frozen part of a network, computed once and stored."""

import math
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train import store
from cxrflow.components.train.inputs import augmented_pixels
from cxrflow.components.train.source import Inputs
from cxrflow.schema.progress import report
from cxrflow.schema.space import require_space

_BATCH = 16


def store_features(
    folder: Path, frozen: keras.Model, images: Inputs, recipe: TrainConfig, views: int
) -> store.Stored:
    """Stores float16 features of `views` copies of each image: one plain, the rest augmented.

    Raises CxrflowError where there isn't room for them.
    """
    if not store.is_there(folder):
        row = math.prod(frozen.outputs[0].shape[1:]) * np.dtype(np.float16).itemsize
        require_space(
            folder,
            views * len(images) * row,
            "features of the frozen part",
            "free some" + (", or lower train.cached_views (0 stores none)" if views > 1 else ""),
        )
    # predict_on_batch would use XLA; see fit.py.
    forward = tf.function(
        lambda pixels: frozen(pixels, training=False),
        input_signature=[tf.TensorSpec(frozen.inputs[0].shape)],
    )

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for view in range(views):
            for start in range(0, len(images), _BATCH):
                rows = range(start, min(start + _BATCH, len(images)))
                gray = images.take(rows)
                seed = [recipe.seed, -1 - (view * len(images) + start)]  # none of training's
                pixels = augmented_pixels(gray, seed, recipe) if view else to_pixels(gray)
                report(view * len(images) + start + len(rows), views * len(images), "images")
                yield (
                    forward(pixels).numpy().astype(np.float16),
                    images.labels[start : start + _BATCH],
                )

    return store.write(folder, batches(), views)
