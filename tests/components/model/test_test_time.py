"""Test-time augmentation."""

import numpy as np
import pytest

pytestmark = pytest.mark.tf


def row_sums(pixels):
    """A network that sees where the light is: sums of rows, of one channel."""
    import tensorflow as tf

    return {"logits": tf.reduce_sum(pixels[..., 0], axis=2), "attention": pixels[..., 0]}


def spot() -> np.ndarray:
    """A soft spot off the centre of a black image, as wide as high."""
    y, x = np.mgrid[:100, :100]
    image = 200 * np.exp(-((x - 60) ** 2 + (y - 40) ** 2) / 50)
    return np.repeat(image[None, ..., None], 3, axis=-1).astype(np.float32)


def centre(image: np.ndarray) -> tuple[float, float]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return float((x * image).sum() / image.sum()), float((y * image).sum() / image.sum())


def test_no_views_is_the_network_itself():
    from cxrflow.components.model.test_time import with_views

    assert with_views(row_sums, 0) is row_sums


def test_copies_are_shifted_by_three_per_cent_and_zoomed_by_four():
    import tensorflow as tf

    from cxrflow.components.model.test_time import moved

    image = tf.constant(spot())
    for view, (right, down), zoom in (
        (0, (3, 0), 0.96),
        (1, (0, 3), 1.04),
        (2, (-3, 0), 0.96),
        (3, (0, -3), 1.04),
    ):
        copy = moved(image, view, views=4).numpy()[0, ..., 0]
        # Where the input's (60, 40) comes from: x = centre + (x' - centre) × zoom + shift.
        expected = [49.5 + (at - 49.5 - by) / zoom for at, by in ((60, right), (40, down))]
        np.testing.assert_allclose(centre(copy), expected, atol=0.05)
        # A zoom in by 4 % makes the spot larger by 1 / .96 in both directions.
        np.testing.assert_allclose(copy.sum() / spot()[..., 0].sum(), zoom**-2, rtol=0.01)


def test_logits_are_the_mean_and_attention_is_the_plain_images():
    import tensorflow as tf

    from cxrflow.components.model.test_time import moved, with_views

    image = tf.constant(spot())
    outputs = with_views(row_sums, 2)(image)
    rows = [row_sums(x)["logits"] for x in (image, moved(image, 0, 2), moved(image, 1, 2))]
    np.testing.assert_allclose(outputs["logits"], np.mean(rows, axis=0), rtol=1e-5)
    np.testing.assert_array_equal(outputs["attention"], image[..., 0])
