"""Intervals against hand-worked cases and a plain loop with scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cxrflow.components.evaluate.ece import expected_calibration_error
from cxrflow.components.evaluate.statistics.auc import clustered_delong, drawn_auc, drawn_aucs
from cxrflow.components.evaluate.statistics.calibration import drawn_brier, drawn_ece
from cxrflow.components.evaluate.statistics.draws import (
    Draws,
    Estimate,
    below_zero,
    estimate,
    mean_of,
    pivotal,
)


def made(images: int = 120, patients: int = 40, classes: int = 3):
    random = np.random.default_rng(3)
    labels = (random.random((images, classes)) < 0.3).astype(np.uint8)
    scores = np.round(random.normal(labels, 1.5), 1)  # with ties
    return labels, scores, random.integers(0, patients, images).astype(str)


def test_draws_take_whole_patients() -> None:
    draws = Draws.of(np.array(["b", "a", "b"]), 50)
    assert draws.of_image.tolist() == [1, 0, 1]
    assert draws.times.shape == (2, 51)
    assert (draws.times[:, 0] == 1).all()
    assert (draws.times.sum(axis=0) == 2).all()  # as many patients as there are
    assert draws.sums(np.array([1.0, 10.0, 2.0]))[0] == 13
    assert draws.means(np.array([1.0, 10.0, 2.0]))[0] == pytest.approx(13 / 3)
    alone = draws.within(np.array([False, True, False]))
    assert alone.sums(np.array([10.0])).tolist() == (10 * draws.times[0]).tolist()


def test_every_draw_is_a_loop_with_scikit_learn() -> None:
    labels, scores, patients = made()
    draws = Draws.of(patients, 60)
    found = drawn_aucs(labels, scores, draws)
    for column in range(61):
        times = draws.times[:, column].astype(int)
        images = np.repeat(np.arange(len(labels)), times[draws.of_image])
        for c in range(labels.shape[1]):
            expected = roc_auc_score(labels[images, c], scores[images, c])
            assert found[c, column] == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(
    ("positive", "scores", "auc"),
    [
        ([1, 0], [2, 1], 1.0),
        ([1, 0], [1, 2], 0.0),
        ([1, 0], [1, 1], 0.5),
        ([1, 0, 1, 0], [4, 3, 2, 1], 0.75),
        ([1, 0, 1, 0], [3, 3, 2, 1], 0.625),  # of 4 pairs: a tie, right, wrong, right
        ([1, 1], [1, 2], math.nan),
        ([0, 0], [1, 2], math.nan),
        ([1, 0], [math.nan, 1], math.nan),
        ([], [], math.nan),
    ],
)
def test_auc_by_hand(positive, scores, auc) -> None:
    draws = Draws.of(np.arange(len(scores)), 5)
    found = drawn_auc(np.array(positive, bool), np.array(scores, float), draws)
    assert found.shape == (6,)
    assert found[0] == pytest.approx(auc, nan_ok=True)


def test_a_draw_without_positives_says_nothing() -> None:
    draws = Draws.of(np.array(["a", "b", "c"]), 200)
    found = drawn_auc(np.array([True, False, False]), np.array([3.0, 2.0, 1.0]), draws)
    without = (draws.times[0] == 0) | (draws.times[1:].sum(axis=0) == 0)
    assert without.any() and (np.isnan(found) == without).all()
    assert estimate(found) == Estimate(1.0, 1.0, 1.0)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 5)), min_size=1))
def test_weights_are_repeated_images(rows) -> None:
    positive, scores, patients = (np.array(column) for column in zip(*rows, strict=True))
    draws = Draws.of(patients, 3, seed=1)
    found = drawn_auc(positive.astype(bool), scores.astype(float), draws)
    for column in range(4):
        images = np.repeat(np.arange(len(rows)), draws.times[draws.of_image, column].astype(int))
        y = positive[images]
        expected = roc_auc_score(y, scores[images]) if 0 < y.sum() < len(y) else math.nan
        assert found[column] == pytest.approx(expected, nan_ok=True)


P, N = True, False


@pytest.mark.parametrize(
    ("positive", "scores", "weights", "auc"),
    [
        # Pairs: .9 beats both, .4 beats .2 alone.
        ([P, P, N, N], [0.9, 0.4, 0.6, 0.2], [1, 1, 1, 1], 3 / 4),
        # The lost pair (.4, .6) weighs 2 x 3 of (1 + 2) x (3 + 1).
        ([P, P, N, N], [0.9, 0.4, 0.6, 0.2], [1, 2, 3, 1], 6 / 12),
        ([P, P, N, N], [0.5, 0.5, 0.5, 0.2], [1, 1, 1, 1], 3 / 4),  # two ties by half
        ([P, P, N, N], [0.9, 0.4, 0.6, 0.2], [0, 1, 1, 0], 0),
        ([P, P, N], [1, 2, 0], [1, 1, 0], math.nan),  # no negative was drawn
        ([P, N, N], [1, 2, 0], [0, 1, 1], math.nan),  # no positive
    ],
)
def test_auc_of_weighted_images_by_hand(positive, scores, weights, auc) -> None:
    draws = Draws(np.arange(len(scores)), np.array([weights], float).T)
    found = drawn_auc(np.array(positive), np.array(scores, float), draws)
    assert found == pytest.approx([auc], nan_ok=True)


def test_all_images_of_a_patient_are_drawn_together() -> None:
    draws = Draws.of(np.array([b"a", b"b", b"a", b"c"]), 500)
    a, b, c = draws.times[:, 1:]
    assert (draws.times[draws.of_image] == np.stack([draws.times[i] for i in (0, 1, 0, 2)])).all()
    assert {*zip(a, b, c, strict=True)} >= {(3, 0, 0), (1, 1, 1), (0, 2, 1)}
    assert abs(a.mean() - 1) < 0.15
    assert (draws.times == Draws.of(np.array([b"a", b"b", b"a", b"c"]), 500).times).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores, patients = made()
    draws = Draws.of(patients, 30)
    whole = drawn_aucs(labels, scores, draws)
    monkeypatch.setattr("cxrflow.components.evaluate.statistics.auc._BLOCK", 100)
    assert (drawn_aucs(labels, scores, draws) == whole).all()


def test_delong_by_hand() -> None:
    # Positives 4, 2; negatives 3, 1: placements 1, 1/2 and 1/2, 1; AUC 3/4, variances 1/8 each.
    positive = np.array([True, False, True, False])
    found = clustered_delong(positive, np.array([4.0, 3.0, 2.0, 1.0]), np.arange(4))
    half = 1.959964 * math.sqrt(1 / 8 / 2 + 1 / 8 / 2)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - half, abs=1e-6)
    assert found.high == 1.0


def test_delong_agrees_with_the_bootstrap_and_clusters_widen_it() -> None:
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(300), 4)
    y = np.repeat(random.random(300) < 0.4, 4)
    scores = y + np.repeat(random.normal(size=300), 4) + 0.1 * random.normal(size=1200)
    clustered = clustered_delong(y, scores, patients)
    bootstrap = estimate(drawn_auc(y, scores, Draws.of(patients, 1000)))
    assert clustered.low == pytest.approx(bootstrap.low, abs=0.01)
    assert clustered.high == pytest.approx(bootstrap.high, abs=0.01)
    alone = clustered_delong(y, scores, np.arange(1200))
    assert clustered.high - clustered.low > 1.7 * (alone.high - alone.low)


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_delong_without_two_kinds(positive) -> None:
    found = clustered_delong(np.array(positive, bool), np.zeros(len(positive)), np.array(positive))
    assert math.isnan(found.value)


def test_delong_of_one_patient_has_no_interval() -> None:
    found = clustered_delong(np.array([True, False]), np.array([2.0, 1.0]), np.array([7, 7]))
    assert found.value == 1 and math.isnan(found.low)


def test_ece_and_brier_on_the_data_are_those_of_the_evaluation() -> None:
    labels, scores, patients = made()
    p = 1 / (1 + np.exp(-scores[:, 0]))
    draws = Draws.of(patients, 40)
    assert drawn_ece(labels[:, 0], p, draws)[0] == pytest.approx(
        expected_calibration_error(labels[:, 0], p)
    )
    brier = drawn_brier(labels[:, 0], p, draws)
    images = np.repeat(np.arange(len(p)), draws.times[draws.of_image, 7].astype(int))
    assert brier[7] == pytest.approx(np.mean((p[images] - labels[images, 0]) ** 2))
    assert np.isnan(drawn_ece(labels[:, 0], p * np.nan, draws)).all()
    assert np.isnan(drawn_ece(np.zeros(0), np.zeros(0), Draws.of(np.zeros(0), 3))).all()


def test_intervals() -> None:
    drawn = np.array([0.5, *np.linspace(0, 1, 1001), math.nan])
    found = estimate(drawn)
    assert found.low == pytest.approx(0.025) and found.high == pytest.approx(0.975)
    assert str(found) == "0.500 (0.025 to 0.975)"
    biased = pivotal(np.array([0.1, *np.linspace(0.15, 0.25, 1001)]))
    assert biased.low == pytest.approx(-0.0475) and biased.high == pytest.approx(0.0475)
    assert math.isnan(estimate(np.array([math.nan, 0.5])).low)
    assert str(estimate(np.array([0.5, math.nan]))) == "0.500"
    assert str(Estimate()) == "unknown"


def test_several_comparisons_need_more_support() -> None:
    drawn = np.r_[-0.05, np.random.default_rng(0).normal(-0.05, 0.02, 2000)]
    assert below_zero(drawn)
    assert not below_zero(drawn, comparisons=13)  # 2.9 standard deviations needed
    assert below_zero(np.r_[-0.07, drawn[1:]], comparisons=13)
    assert not below_zero(-drawn)
    assert not below_zero(np.array([math.nan, -1.0, -1.0]), comparisons=3)


def test_a_mean_leaves_out_what_is_unknown() -> None:
    nan = math.nan
    found = mean_of(np.array([[0.4, 0.2, nan], [0.6, nan, nan], [nan, 9.0, 9.0]]))
    assert found[:2].tolist() == [0.5, 0.2] and math.isnan(found[2])
    assert np.isnan(mean_of(np.full((2, 3), nan))).all()
