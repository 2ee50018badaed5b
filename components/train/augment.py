"""Random changes of training images."""

import math

import tensorflow as tf


def augment(
    images: tf.Tensor,
    seed: tf.Tensor,
    rotation: float = 0.0,
    shift: float = 0.0,
    zoom: float = 0.0,
    contrast: float = 0.0,
    flip: bool = False,
) -> tf.Tensor:
    """Each image rotated, shifted, zoomed (in one bilinear step) and changed in contrast at random.

    images: uint8 or float32 [N, S, S, C], 0-255; seed: int [2], the same seed gives the same
    result. rotation in degrees; shift and zoom are shares of the side; contrast scales about the
    image's mean and moves brightness by as much of 255; flip mirrors half of the images. Returns
    float32 [N, S, S, C], 0-255; what comes in from outside is the image's reflection.
    """
    count, side = tf.shape(images)[0], tf.cast(tf.shape(images)[1], tf.float32)
    draws = tf.random.stateless_uniform([6, count], seed, minval=-1.0, maxval=1.0)
    angle = draws[0] * (rotation * math.pi / 180)
    scale = 1.0 + draws[1] * zoom
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    centre = (side - 1) / 2
    # Output (x, y) takes the input's (a0 x + a1 y + a2, b0 x + b1 y + b2), about the centre.
    # Whole pixels: a shift alone then isn't interpolated, and images stay as sharp as in service.
    right, down = tf.round(draws[2] * shift * side), tf.round(draws[3] * shift * side)
    a2 = centre - cos * centre + sin * centre + right
    b2 = centre - sin * centre - cos * centre + down
    zeros = tf.zeros_like(cos)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack([cos, -sin, a2, sin, cos, b2, zeros, zeros], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    if flip:
        mirrored = tf.random.stateless_uniform([count], tf.random.fold_in(seed, 1)) < 0.5
        moved = tf.where(mirrored[:, None, None, None], moved[:, :, ::-1], moved)
    if not contrast:
        return moved
    mean = tf.reduce_mean(moved, axis=[1, 2, 3], keepdims=True)
    gain = 1.0 + contrast * draws[4][:, None, None, None]
    offset = 255.0 * contrast * draws[5][:, None, None, None]
    return tf.clip_by_value((moved - mean) * gain + mean + offset, 0.0, 255.0)
