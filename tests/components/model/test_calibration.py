"""Platt scaling: what it recovers, what it leaves alone, what it never does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from cxrflow.components.model.calibration import SLOPE_PRIOR, Calibration, calibrate, fit
from cxrflow.schema.errors import CxrflowError


def column(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def smoothed_loss(calibration: Calibration, logits: np.ndarray, labels: np.ndarray) -> float:
    """What is minimised: log-loss against Platt's targets and the slope's prior."""
    positives = labels.sum()
    negatives = len(labels) - positives
    targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    z = calibration.slope * logits + calibration.intercept
    loss = np.sum(np.logaddexp(0, z) - targets * z)
    return float(loss + (np.log(calibration.slope[0]) / SLOPE_PRIOR) ** 2 / 2)


def test_known_slope_and_intercept_are_found_again():
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, (40_000, 2))
    true = Calibration(np.array([0.5, 2.0]), np.array([-1.0, 0.3]))
    labels = random.random(logits.shape) < true.apply(logits)
    found = fit(logits, labels)
    np.testing.assert_allclose(found.slope, true.slope, rtol=0.05)
    np.testing.assert_allclose(found.intercept, true.intercept, atol=0.05)


def test_smoothed_targets_by_hand():
    # All logits are equal, so that the mean probability must be the mean of Platt's targets:
    # 1 positive, 3 negatives: (2/3 + 3 × 1/5) / 4 = 19/60; and the slope has only its prior.
    found = fit(column([0, 0, 0, 0]), column([1, 0, 0, 0]))
    assert found.slope[0] == pytest.approx(1, abs=1e-5)
    assert expit(found.intercept[0]) == pytest.approx(19 / 60, abs=1e-5)


def test_few_positives_keep_the_slope_near_one_and_many_do_not():
    random = np.random.default_rng(1)
    slopes = {}
    for positives, negatives in ((3, 300), (300, 30_000)):
        logits = np.concatenate(
            [random.normal(-2, 0.4, positives), random.normal(-3, 0.4, negatives)]
        )
        labels = np.arange(positives + negatives) < positives
        slopes[positives] = fit(logits[:, None], labels[:, None]).slope[0]
    # Equal variances: the right slope is the distance over the variance, 1 / .16.
    assert slopes[300] == pytest.approx(1 / 0.16, rel=0.15)
    assert 1 < slopes[3] < 4


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([-1, 0, 1], [0, 0, 0]),
        ([-1, 0, 1], [1, 1, 1]),
        ([0.5], [1]),
    ],
)
def test_one_label_only_stays_as_it_is(logits, labels):
    found = fit(column(logits), column(labels))
    assert (found.slope[0], found.intercept[0]) == (1, 0)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([-2, -1, 1, 2], [0, 0, 1, 1]),  # separable
        ([-2, -1, 1, 2], [1, 1, 0, 0]),  # the wrong way round
        ([-1e4, -1e4, 1e4, 1e4], [0, 0, 1, 1]),
        ([1e-6, 0, 1e-6, 0], [1, 0, 1, 0]),
        ([1000, 1001, 1002, 1003], [0, 1, 0, 1]),
    ],
)
def test_extreme_data_give_finite_positive_slopes(logits, labels):
    found = fit(column(logits), column(labels))
    assert 0 < found.slope[0] < np.inf
    assert np.isfinite(found.intercept[0])
    assert np.isfinite(found.apply(column(logits))).all()


def test_method_none_changes_nothing():
    logits, labels = column([3, -1, 0.5]), column([0, 1, 0])
    np.testing.assert_allclose(calibrate("none", logits, labels).apply(logits), expit(logits))
    assert not np.allclose(calibrate("platt", logits, labels).apply(logits), expit(logits))


def test_infinite_logits_are_refused():
    with pytest.raises(CxrflowError, match="not finite"):
        fit(column([np.nan, 1]), column([0, 1]))


def test_through_model_json_and_back():
    made = Calibration(np.array([0.5, 2.0]), np.array([-1.0, 0.25]))
    values = made.to_json(["A", "B"])
    assert values == {
        "A": {"slope": 0.5, "intercept": -1.0},
        "B": {"slope": 2.0, "intercept": 0.25},
    }
    turned = Calibration.from_json(values, ["B", "A"])
    np.testing.assert_array_equal(turned.slope, [2.0, 0.5])


@given(
    arrays(np.float64, st.integers(2, 40), elements=st.floats(-20, 20)),
    st.randoms(use_true_random=False),
)
def test_order_is_kept_and_the_loss_is_no_worse_than_without(logits, random):
    labels = np.array([random.randint(0, 1) for _ in logits], float)
    found = fit(logits[:, None], labels[:, None])
    order = np.argsort(logits)
    assert (np.diff(found.log_odds(logits[:, None].astype(np.float32))[order, 0]) >= 0).all()
    if 0 < labels.sum() < len(labels):
        identity = Calibration.identity(1)
        before = smoothed_loss(identity, logits, labels)
        assert smoothed_loss(found, logits, labels) <= before + 1e-6
