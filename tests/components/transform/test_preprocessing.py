"""Labels and slice features, against tables worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.transform.preprocessing import age_band, k_hot
from cxrflow.schema.classes import CLASSES_14, DEFAULT_CLASSES

pytestmark = pytest.mark.tf


def _sparse(rows: list[list[str]]) -> "tf.SparseTensor":
    return tf.RaggedTensor.from_row_lengths(
        tf.constant([name for row in rows for name in row], tf.string), [len(row) for row in rows]
    ).to_sparse()


def test_k_hot() -> None:
    rows = [
        [],  # No Finding
        ["Mass"],
        ["Pneumothorax", "Atelectasis"],  # order doesn't matter
        ["Hernia"],  # not in the vocabulary
        ["Hernia", "Mass"],
        ["Mass", "Mass"],
        list(DEFAULT_CLASSES),
    ]
    expected = np.zeros((7, 13), np.float32)
    mass, atelectasis, pneumothorax = 8, 0, 12
    expected[1, mass] = expected[4, mass] = expected[5, mass] = 1
    expected[2, [atelectasis, pneumothorax]] = 1
    expected[6] = 1
    labels = k_hot(_sparse(rows), DEFAULT_CLASSES)
    assert labels.dtype == tf.float32
    np.testing.assert_array_equal(labels, expected)


def test_k_hot_follows_the_order_of_the_vocabulary() -> None:
    np.testing.assert_array_equal(k_hot(_sparse([["Mass"]]), ("Nodule", "Mass")), [[0, 1]])


def test_k_hot_with_hernia() -> None:
    labels = k_hot(_sparse([["Hernia"]]), CLASSES_14)
    np.testing.assert_array_equal(np.flatnonzero(labels), [7])


def test_k_hot_of_normals_only() -> None:
    np.testing.assert_array_equal(k_hot(_sparse([[], []]), DEFAULT_CLASSES), np.zeros((2, 13)))


def test_an_unknown_class_is_nan_and_the_others_stay() -> None:
    from cxrflow.components.transform.preprocessing import with_unknown

    labels = k_hot(_sparse([["Mass"], [], []]), ("Nodule", "Mass"))
    unknown = _sparse([["Nodule"], ["Hernia", "Mass"], []])
    found = with_unknown(labels, unknown, ("Nodule", "Mass"))
    np.testing.assert_array_equal(found, [[np.nan, 1], [0, np.nan], [0, 0]])


def test_age_bands() -> None:
    ages = [0, 19, 20, 39, 40, 59, 60, 79, 80, 95, 120]
    bands = ["0-19"] * 2 + ["20-39"] * 2 + ["40-59"] * 2 + ["60-79"] * 2 + ["80+"] * 3
    assert [band.decode() for band in age_band(tf.constant(ages, tf.int64)).numpy()] == bands
