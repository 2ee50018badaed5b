import math

import numpy as np
import pytest

from cxrflow.components.evaluate.scores import class_scores


def test_hand_computed():
    scores = class_scores(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    assert scores == {
        "positives": 2,
        "negatives": 2,
        "auc": pytest.approx(3 / 4),  # 3 of 4 pairs in order
        "auc_precision_recall": pytest.approx((1 / 1 + 2 / 3) / 2),
        "mean_label": 0.5,
        "mean_prediction": pytest.approx(1.65 / 4),
        "calibration": pytest.approx(1.65 / 2),
        "brier_score": pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4),
        "prediction_range": pytest.approx(0.7),
    }


def test_close_and_tiny_probabilities_are_ranked():
    # TFMA's buckets of .0001 give .5 here.
    scores = class_scores(np.array([0, 1, 0, 1]), np.array([1e-6, 2e-6, 3e-6, 4e-6]))
    assert scores["auc"] == 0.75


@pytest.mark.parametrize(
    ("labels", "probabilities", "undefined"),
    [
        ([0, 0], [0.1, 0.2], {"auc", "auc_precision_recall", "calibration"}),
        ([1, 1], [0.1, 0.2], {"auc"}),
        ([1], [0.5], {"auc"}),
        (
            [0, 1],
            [0.1, math.nan],
            {
                "auc",
                "auc_precision_recall",
                "mean_prediction",
                "calibration",
                "brier_score",
                "prediction_range",
            },
        ),
        (
            [],
            [],
            {
                "auc",
                "auc_precision_recall",
                "mean_label",
                "mean_prediction",
                "calibration",
                "brier_score",
                "prediction_range",
            },
        ),
    ],
)
def test_undefined_scores_are_nan(labels, probabilities, undefined):
    scores = class_scores(np.array(labels), np.array(probabilities))
    assert {name for name, value in scores.items() if math.isnan(value)} == undefined
    assert scores["positives"] + scores["negatives"] == len(labels)


def test_the_same_probability_for_all():
    scores = class_scores(np.array([0, 1]), np.full(2, 0.3, np.float32))
    assert scores["prediction_range"] == 0
    assert scores["auc"] == 0.5
