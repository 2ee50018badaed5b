"""Plots computed by hand, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score

from components.evaluate.ece import expected_calibration_error
from components.evaluate.plots import calibration_buckets, class_plots, confusion_matrices

pytestmark = pytest.mark.tf

LABELS = np.array([0, 0, 1, 1], np.float32)
PROBABILITIES = np.array([0.1, 0.4, 0.35, 0.8], np.float32)


def rates(matrices) -> tuple[list[float], list[float]]:
    false = [m.false_positives / (m.false_positives + m.true_negatives) for m in matrices]
    return false, [m.recall for m in matrices]


def test_matrices_by_hand():
    found = confusion_matrices(LABELS, PROBABILITIES).matrices
    counts = [
        (m.true_positives, m.false_positives, m.true_negatives, m.false_negatives) for m in found
    ]
    # Above -1e-6: all; .1: three; .35: two; .4: one; .8: none. Every threshold is a corner.
    assert counts == [(2, 2, 0, 0), (2, 1, 1, 0), (1, 1, 1, 1), (1, 0, 2, 1), (0, 0, 2, 2)]
    assert [m.threshold for m in found] == pytest.approx([-1e-6, 0.1, 0.35, 0.4, 0.8])
    assert [m.precision for m in found] == pytest.approx([1 / 2, 2 / 3, 1 / 2, 1, 1])


def test_straight_parts_are_one_line():
    labels = np.array([0, 0, 0, 1, 1, 1], np.float32)
    found = confusion_matrices(labels, np.linspace(0, 1, 6)).matrices
    assert rates(found) == ([1, 0, 0], [1, 1, 0])


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_area_under_the_corners_is_the_auc(rows):
    labels, scores = np.array(rows, float).T
    false, true = rates(confusion_matrices(labels, scores / 20).matrices)
    assert auc(false, true) == pytest.approx(roc_auc_score(labels, scores))


def test_many_corners_are_thinned():
    rng = np.random.default_rng(0)
    labels = (rng.random(5000) < 0.3).astype(np.float32)
    scores = (labels * 0.2 + rng.random(5000)) / 1.2
    found = confusion_matrices(labels, scores).matrices
    assert len(found) == 100
    false, true = rates(found)
    assert (false[0], true[0], false[-1], true[-1]) == (1, 1, 0, 0)
    assert auc(false, true) == pytest.approx(roc_auc_score(labels, scores), abs=0.002)


def test_buckets_by_hand():
    found = calibration_buckets(LABELS, PROBABILITIES, bins=2).buckets
    assert [b.num_weighted_examples.value for b in found] == [2, 2]
    assert [b.total_weighted_label.value for b in found] == [1, 1]
    sums = [b.total_weighted_refined_prediction.value for b in found]
    assert sums == pytest.approx([0.45, 1.2])
    assert found[0].upper_threshold_exclusive == pytest.approx(0.35)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=80))
def test_buckets_hold_the_calibration_error(rows):
    labels, probabilities = np.array(rows, float).T
    buckets = calibration_buckets(labels, probabilities).buckets
    assert sum(b.num_weighted_examples.value for b in buckets) == len(rows)
    gaps = [
        abs(b.total_weighted_refined_prediction.value - b.total_weighted_label.value)
        for b in buckets
    ]
    expected = expected_calibration_error(labels, probabilities)
    assert sum(gaps) / len(rows) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("labels", "probabilities", "plots"),
    [
        ([], [], set()),
        ([0, 1], [0.5, np.nan], set()),
        ([0, 0], [0.2, 0.3], {"calibration_plot"}),
        ([1, 1], [0.2, 0.3], {"calibration_plot"}),
        ([0, 1], [0.5, 0.5], {"calibration_plot", "confusion_matrix_plot"}),
    ],
    ids=["no example", "NaN", "no positive", "no negative", "constant"],
)
def test_degenerate_classes(labels, probabilities, plots):
    found = class_plots(np.array(labels, np.float32), np.array(probabilities), 3, "candidate")
    assert {key.name for key in found} == plots
    assert all(key.sub_key.class_id == 3 and key.model_name == "candidate" for key in found)
