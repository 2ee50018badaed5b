"""What a network says of images."""

import numpy as np
import tensorflow as tf

from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.model.test_time import Network
from cxrflow.components.train.inputs import evaluation_batches
from cxrflow.components.train.source import Inputs
from cxrflow.schema.progress import report

_BATCH = 16


def predict_logits(network: Network, images: Inputs) -> np.ndarray:
    """The logits [N, C] of images."""
    # Keras's predict would use XLA; see fit.py.
    forward = tf.function(lambda pixels: network(pixels)["logits"], reduce_retracing=True)
    batches = []
    for pixels in evaluation_batches(images, _BATCH, to_pixels):
        batches.append(forward(pixels).numpy())
        report(sum(map(len, batches)), len(images), "images")
    return np.concatenate(batches)
