"""Test-time augmentation: the mean over slightly moved copies of an image."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

SHIFT = 0.03  # of the side
ZOOM = 0.04

Network = Callable[[tf.Tensor], dict[str, Any]]


def with_views(network: Network, views: int) -> Network:
    """A network whose logits are the mean over the plain image and `views` fixed copies of it.

    Copies are shifted by SHIFT in directions spread evenly over the circle, and zoomed in and out
    by ZOOM in turn: the same ones for every image, and never mirrored. Other outputs are those of
    the plain image.
    """
    if not views:
        return network
    # One copy in the graph, however many views.
    once = tf.function(network, reduce_retracing=True, autograph=False)

    def mean_of_views(pixels: tf.Tensor) -> dict[str, Any]:
        plain = once(pixels)
        logits = plain["logits"]
        for view in range(views):
            logits += once(moved(pixels, view, views))["logits"]
        return plain | {"logits": logits / (views + 1)}

    return mean_of_views


def moved(pixels: tf.Tensor, view: int, views: int) -> tf.Tensor:
    """Copy `view` of pixels [N, S, S, C]; what comes in from outside is the image's reflection.

    Of padding, cropping and resizing only, which every edge runtime has.
    """
    side = pixels.shape[1]
    angle = 2 * math.pi * view / views
    window = round(side * (1 + (ZOOM if view % 2 else -ZOOM)))
    margin = math.ceil(side * (SHIFT + ZOOM / 2)) + 1
    left, top = (
        margin + round((side - window) / 2 + SHIFT * side * along)
        for along in (math.cos(angle), math.sin(angle))
    )
    padded = tf.pad(pixels, [[0, 0], [margin, margin], [margin, margin], [0, 0]], "REFLECT")
    return tf.image.resize(padded[:, top : top + window, left : left + window], [side, side])
