"""Plots computed by hand, and against scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from cxrflow.components.evaluate.ece import expected_calibration_error
from cxrflow.components.evaluate.plots import calibration_buckets, class_plots, confusion_matrices

pytestmark = pytest.mark.tf

LABELS = np.array([0, 0, 1, 1], np.float32)
PROBABILITIES = np.array([0.1, 0.4, 0.35, 0.8], np.float32)


def rates(matrices) -> tuple[list[float], list[float]]:
    false = [m.false_positives / (m.false_positives + m.true_negatives) for m in matrices]
    return false, [m.recall for m in matrices]


def steps_area(matrices) -> float:
    """Under steps as charts.js draws them: up to a point's recall at its own precision."""
    return sum(
        (point.recall - higher.recall) * point.precision for point, higher in pairwise(matrices)
    )


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


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [
        # A negative above both positives: precision 1/2 up to recall 1/2, then 2/3.
        ([0, 1, 1], [0.9, 0.8, 0.7], 7 / 12),
        ([0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6], 1 / 2),  # one positive
        ([0, 1, 1, 0], [0.5, 0.5, 0.5, 0.5], 1 / 2),  # all equal: precision is the prevalence
        ([1, 1, 0, 1], [0.9, 0.8, 0.8, 0.1], 1 / 3 + 2 / 9 + 1 / 4),  # a tie of both labels
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 1.0),
        ([0, 0, 0, 1], [0.9, 0.8, 0.7, 0.1], 1 / 4),
    ],
)
def test_area_of_steps_by_hand(labels, scores, area):
    found = confusion_matrices(np.array(labels, np.float32), np.array(scores)).matrices
    assert steps_area(found) == pytest.approx(area)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_corners_enclose_the_reported_areas(rows):
    labels, scores = np.array(rows, float).T
    found = confusion_matrices(labels, scores / 20).matrices
    assert auc(*rates(found)) == pytest.approx(roc_auc_score(labels, scores))
    assert steps_area(found) == pytest.approx(average_precision_score(labels, scores))


@pytest.mark.parametrize(
    ("prevalence", "gap", "ties"), [(0.3, 0.2, 0), (0.02, 0.1, 0), (0.1, 0.5, 0), (0.1, 0.2, 300)]
)
def test_many_corners_are_thinned(prevalence, gap, ties):
    rng = np.random.default_rng(0)
    labels = (rng.random(20_000) < prevalence).astype(np.float32)
    scores = (labels * gap + rng.random(len(labels))) / (1 + gap)
    scores = (scores * ties).round() / ties if ties else scores
    found = confusion_matrices(labels, scores).matrices
    assert len(found) < 500
    false, true = rates(found)
    assert (false[0], true[0], false[-1], true[-1]) == (1, 1, 0, 0)
    assert auc(false, true) == pytest.approx(roc_auc_score(labels, scores), abs=0.001)
    assert steps_area(found) == pytest.approx(average_precision_score(labels, scores), abs=0.001)


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
