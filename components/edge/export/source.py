"""The model that a bundle is made from, and its one signature that every runtime can have."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cxrflow.components.model.assets import load_detector
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import read_trained

BATCH = 8  # images that the source is asked at once
INPUT, OUTPUT = "image", "probabilities"


class Source:
    """A SavedModel's `pixels` signature. It holds the model, whose variables die with it."""

    def __init__(self, saved_model: Path):
        """Loads it. Raises CxrflowError if it is no model of cxrflow."""
        self.info = read_trained(saved_model)
        assert self.info.compact  # read_trained refuses a model without
        self.compact = self.info.compact
        self.classes, self.image_size = list(self.info.classes), self.info.image_size
        self.detector = load_detector(saved_model, self.info)
        self.model = tf.saved_model.load(str(saved_model))
        if "pixels" not in self.model.signatures:
            raise CxrflowError(f"{saved_model} has no signature pixels: train the model anew")

    def function(self, batch: int | None) -> Any:
        """Pixels float32 [batch, S, S, 3], 0-255, to probabilities [batch, C]; None: any batch."""
        pixels = self.model.signatures["pixels"]
        spec = tf.TensorSpec([batch, self.image_size, self.image_size, 3], tf.float32, INPUT)

        @tf.function(input_signature=[spec])
        def probabilities(image: tf.Tensor) -> tf.Tensor:
            return tf.identity(pixels(image=image)[OUTPUT], name=OUTPUT)

        return probabilities.get_concrete_function()

    @cached_property
    def _any_batch(self) -> Any:
        return self.function(None)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Returns float32 [N, C] of gray images uint8 [N, S, S]; NaN where a logit isn't finite."""
        batches = (pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH))
        return np.concatenate([self._of_batch(tf.constant(rgb(x))) for x in batches])

    def _of_batch(self, image: tf.Tensor) -> np.ndarray:
        # The sigmoid of infinity is 1, which looks like an answer; `network` tells the logits too.
        network = self.model.signatures.get("network")
        if network is None:
            return self._any_batch(image).numpy()
        found = {name: value.numpy() for name, value in network(image=image).items()}
        finite = np.isfinite(found["logits"]).all(axis=1, keepdims=True)
        return np.where(finite, found[OUTPUT], np.float32(np.nan))


def rgb(pixels: np.ndarray) -> np.ndarray:
    """Gray images uint8 [N, S, S] as the network takes them: float32 [N, S, S, 3]."""
    return np.repeat(pixels[..., None], 3, axis=-1).astype(np.float32)
