"""The attention maps of a SavedModel, as it is and with its weights shuffled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cxrflow.schema.errors import CxrflowError

_BATCH = 16  # images


class Maps:
    """A loaded model that says where it looks."""

    def __init__(self, saved_model: Path):
        """Loads a model. Raises CxrflowError if it has no attention signature."""
        self._model: Any = tf.saved_model.load(str(saved_model))
        if "attention" not in self._model.signatures:
            raise CxrflowError(f"{saved_model} has no attention signature: train it again")
        self._attention = self._model.signatures["attention"]

    def of(self, images: list[bytes]) -> np.ndarray:
        """Maps float32 [N, h, w] or [N, h, w, C] of PNGs or JPEGs; what isn't finite is 0."""
        found = [
            self._attention(image_bytes=tf.constant(batch))["attention"].numpy()
            for batch in _batches(images)
        ]
        maps = np.concatenate(found)
        return np.where(np.isfinite(maps), maps, 0)

    def shuffle_weights(self, seed: int) -> int:
        """Shuffles the values within each of the network's variables; returns how many there are.

        Their distribution stays, so that what comes out is a network's map, and no overflow.
        """
        random = np.random.default_rng(seed)
        variables = [v for v in self._attention.variables if v.dtype.is_floating]
        for variable in variables:
            values = variable.numpy()
            variable.assign(random.permutation(values.ravel()).reshape(values.shape))
        return len(variables)


def _batches(images: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH]
