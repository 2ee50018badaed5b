"""Operating points by hand, and their defining properties on random data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.model.thresholds import class_thresholds, operating_points

LABELS = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0])
PROBABILITIES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])


def test_by_hand():
    # 4 positives, 6 negatives. At .6: 3 of 4 found, 5 of 6 left alone.
    assert operating_points(LABELS, PROBABILITIES, sensitivity=0.9, specificity=0.5) == {
        "youden": {"threshold": 0.6, "sensitivity": 0.75, "specificity": 5 / 6},
        "sensitivity": {
            "threshold": 0.3,
            "sensitivity": 1.0,
            "specificity": 0.5,
            "target": 0.9,
        },
        "specificity": {
            "threshold": 0.3,
            "sensitivity": 1.0,
            "specificity": 0.5,
            "target": 0.5,
        },
    }


def test_ties_go_together():
    found = operating_points(np.array([1, 0, 1, 0]), np.array([0.5, 0.5, 0.5, 0.1]), 0.5, 0.5)
    assert found["youden"] == {"threshold": 0.5, "sensitivity": 1.0, "specificity": 0.5}


def test_among_equals_youden_takes_the_highest():
    found = operating_points(np.array([1, 0, 1, 0]), np.array([0.9, 0.7, 0.5, 0.3]), 0.9, 0.9)
    assert found["youden"]["threshold"] == 0.9  # 1/2 + 1 - 1; at .5 it is 1 + 1/2 - 1


def test_a_specificity_that_only_silence_reaches_is_none():
    found = operating_points(np.array([0, 1]), np.array([0.9, 0.1]), 0.9, 0.9)
    assert found["specificity"] is None
    assert found["sensitivity"]["threshold"] == 0.1


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_label_only_has_none(labels):
    assert operating_points(np.array(labels), np.array([0.1, 0.2, 0.3]), 0.9, 0.9) is None


def test_every_class_has_its_own():
    labels = np.array([[1, 0], [0, 0]])
    found = class_thresholds(["A", "B"], labels, np.array([[0.8, 0.1], [0.2, 0.2]]), 0.9, 0.9)
    assert found["A"]["youden"]["threshold"] == 0.8
    assert found["B"] is None


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=30),
    st.sampled_from([0.1, 0.5, 0.7, 0.9, 1.0]),
)
def test_targets_are_reached_and_not_wasted(pairs, target):
    labels, scores = np.array(pairs).T
    probabilities = scores / 8
    found = operating_points(labels, probabilities, target, target)
    if found is None:
        assert labels.min() == labels.max()
        return

    def rates(threshold: float) -> tuple[float, float]:
        called = probabilities >= threshold
        return called[labels == 1].mean(), (~called[labels == 0]).mean()

    levels = np.unique(probabilities)
    for point in filter(None, found.values()):
        assert (point["sensitivity"], point["specificity"]) == rates(point["threshold"])
    assert found["sensitivity"]["threshold"] == max(t for t in levels if rates(t)[0] >= target)
    enough = [t for t in levels if rates(t)[1] >= target]
    if enough:
        assert found["specificity"]["threshold"] == min(enough)
    else:
        assert found["specificity"] is None
    best = max(sum(rates(t)) for t in levels)
    assert sum(rates(found["youden"]["threshold"])) == pytest.approx(best)
