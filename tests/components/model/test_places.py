"""Means over cells by hand, and the linear layer at every place."""

import keras
import numpy as np
import pytest

from cxrflow.components.model.places import PooledMap, local_logits, pooled

pytestmark = pytest.mark.tf


def test_means_of_the_image_and_of_its_cells_by_hand():
    features = keras.Input((4, 4, 1))
    model = keras.Model(features, pooled([PooledMap(features, 2)]))
    values = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    # 0 1 | 2 3
    # 4 5 | 6 7
    # ----+----
    # 8 ...
    np.testing.assert_allclose(model(values), [[7.5, 2.5, 4.5, 10.5, 12.5]])


def test_cells_that_do_not_divide_the_side_overlap():
    features = keras.Input((4, 4, 1))
    model = keras.Model(features, pooled([PooledMap(features, 3)]))
    columns = np.tile(np.arange(4, dtype=np.float32), (4, 1)).reshape(1, 4, 4, 1)
    # Columns 0-1, 1-2 and 2-3.
    np.testing.assert_allclose(model(columns), [[1.5, *[0.5, 1.5, 2.5] * 3]])


@pytest.mark.parametrize("sides", [(6, 12), (12, 6)])
def test_the_mean_over_places_is_the_answer_for_the_image(sides):
    inputs = [keras.Input((side, side, 3)) for side in sides]
    maps = [PooledMap(inputs[0], 3), PooledMap(inputs[1], 1)]
    linear = keras.layers.Dense(2, bias_initializer="random_normal")
    model = keras.Model(inputs, [linear(pooled(maps)), local_logits(maps, linear)])
    random = np.random.default_rng(0)
    logits, local = model([random.normal(size=(4, side, side, 3)) for side in sides])
    assert local.shape == (4, 6, 6, 2)
    assert np.ptp(local) > 1
    np.testing.assert_allclose(np.mean(local, axis=(1, 2)), logits, atol=1e-4)


def test_what_a_cell_counts_is_seen_in_that_cell_alone():
    """A weight on the middle cell alone lights up the middle alone."""
    features = keras.Input((6, 6, 1))
    linear = keras.layers.Dense(1)
    maps = [PooledMap(features, 3)]
    model = keras.Model(features, [linear(pooled(maps)), local_logits(maps, linear)])
    kernel = np.zeros((10, 1), np.float32)
    kernel[1 + 4] = 1  # the mean of the image, then cells row by row
    linear.set_weights([kernel, np.zeros(1)])
    _, local = model(np.ones((1, 6, 6, 1), np.float32))
    expected = np.zeros((6, 6))
    expected[2:4, 2:4] = 9
    np.testing.assert_allclose(local[0, ..., 0], expected)
