import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.evaluate.ece import ece_by_chance, expected_calibration_error


def test_hand_computed():
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    probabilities = np.array([0.1, 0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9])
    # Two bins of four: means .2 against 1/4, and .75 against 3/4.
    assert expected_calibration_error(labels, probabilities, bins=2) == pytest.approx(0.025)
    # One: .475 against 1/2.
    assert expected_calibration_error(labels, probabilities, bins=1) == pytest.approx(0.025)
    # Four bins of two: .1 - 0, .3 - 1/2, .65 - 1, .85 - 1/2, each a quarter.
    assert expected_calibration_error(labels, probabilities, bins=4) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([], [], math.nan),
        ([1, 0], [0.5, math.nan], math.nan),
        ([1], [0.8], 0.2),
        ([0, 1], [0.0, 1.0], 0.0),
        ([1, 0], [0.0, 1.0], 1.0),
        ([0, 1, 1, 0], [0.5] * 4, 0.0),  # equal probabilities share a bin
        ([0, 0, 0, 0], [0.3] * 4, 0.3),
    ],
)
def test_degenerate(labels, probabilities, expected):
    found = expected_calibration_error(np.array(labels), np.array(probabilities))
    assert found == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1), st.randoms())
def test_order_of_examples_is_of_no_matter(pairs, random):
    error = expected_calibration_error(*np.array(pairs).T)
    random.shuffle(pairs)
    assert expected_calibration_error(*np.array(pairs).T) == pytest.approx(error)
    assert 0 <= error <= 1


def test_probabilities_drawn_from_are_calibrated():
    random = np.random.default_rng(0)
    probabilities = random.beta(0.3, 5, 50_000)
    labels = random.random(50_000) < probabilities
    assert expected_calibration_error(labels, probabilities) < 0.005
    assert expected_calibration_error(labels, probabilities * 0.5) == pytest.approx(
        probabilities.mean() / 2, abs=0.003
    )


@pytest.mark.parametrize(
    ("probabilities", "bins", "expected"),
    [
        ([], 15, math.nan),
        ([0.5, math.nan], 15, math.nan),
        ([0.0, 1.0], 15, 0.0),  # nothing is left to chance
        ([0.2], 15, 0.32),  # .8 off with a chance of .2, .2 with one of .8
        ([0.5, 0.5], 15, 0.25),  # one bin: 0, 1 or 2 of two are positive, 1/4, 1/2, 1/4
        ([0.2, 0.6], 2, 0.4),  # two bins: .32 and .48
        ([0.2, 0.6], 1, 0.5 * (0.32 * 0.8 + 0.56 * 0.2 + 0.12 * 1.2)),
    ],
)
def test_what_right_probabilities_show_by_chance(probabilities, bins, expected):
    assert ece_by_chance(np.array(probabilities), bins) == pytest.approx(expected, nan_ok=True)


def test_chance_is_the_mean_over_drawn_labels():
    random = np.random.default_rng(0)
    probabilities = random.beta(1, 5, 200)
    drawn = [
        expected_calibration_error(random.random(200) < probabilities, probabilities)
        for _ in range(300)
    ]
    error = np.std(drawn) / np.sqrt(300)
    assert np.mean(drawn) == pytest.approx(ece_by_chance(probabilities), abs=4 * error)
