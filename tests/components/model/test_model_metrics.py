import numpy as np

from cxrflow.components.model.metrics import binary_crossentropy, per_class_auc


def test_auc_by_hand_and_class_without_positives():
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]], np.float32)
    scores = np.array([[0.9, 0.1, 0], [0.5, 0.2, 0], [0.4, 0.3, 0], [0.1, 0.4, 0]])
    # Class 0: of the 4 pairs (positive, negative) only .4 < .5 is in the wrong order.
    np.testing.assert_array_equal(per_class_auc(labels, scores), [0.75, np.nan, np.nan])


def test_crossentropy_by_hand():
    # sigmoid(ln 3) = 3/4: -ln(3/4) for the positive, -ln(1/4) for the negative.
    value = binary_crossentropy(np.array([[1.0, 0.0]]), np.array([[np.log(3)] * 2]))
    np.testing.assert_allclose(value, -(np.log(0.75) + np.log(0.25)) / 2)
    assert np.isfinite(binary_crossentropy(np.ones((1, 1)), np.array([[-1e4]])))
