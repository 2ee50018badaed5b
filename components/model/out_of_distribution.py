"""Is it a chest X-ray at all? The detector, as a model's graph carries it.

What it looks at and why: docs/decisions/out-of-distribution.md.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from cxrflow.schema.portable.out_of_distribution import LEAST, STATISTICS, Detector, cells

OUTPUT = "out_of_distribution"


def scorer(detector: Detector) -> Callable[[tf.Tensor], tf.Tensor]:
    """`Detector.scores` in TensorFlow, of pixels float32 [N, S, S, 3], 0-255, R = G = B: [N]."""

    def score(pixels: tf.Tensor) -> tf.Tensor:
        gray = pixels[..., 0]
        size = gray.shape[1]
        whole, steps = cells(size, detector.grid), cells(size - 1, detector.grid)
        inside = (whole > 0).astype(np.float32)

        def pooled(rows: np.ndarray, values: tf.Tensor, columns: np.ndarray) -> tf.Tensor:
            return tf.matmul(tf.matmul(rows, values), columns, transpose_b=True)

        mean = pooled(whole, gray, whole)
        apart = gray - pooled(inside.T, mean, inside.T)
        right = tf.abs(gray[:, :, 1:] - gray[:, :, :-1])
        below = tf.abs(gray[:, 1:] - gray[:, :-1])
        found = tf.stack(
            [
                mean / 255.0,
                tf.math.log(tf.sqrt(pooled(whole, apart * apart, whole)) + LEAST),
                tf.math.log(pooled(whole, right, steps) + LEAST),
                tf.math.log(pooled(steps, below, whole) + LEAST),
            ],
            axis=-1,
        )
        flat = tf.reshape(found, [-1, detector.grid * detector.grid * STATISTICS])
        return tf.reduce_sum(tf.matmul(flat - detector.center, detector.whitening) ** 2, axis=1)

    return score
