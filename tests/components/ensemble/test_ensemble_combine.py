"""The five methods by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit

from cxrflow.components.ensemble.combine import Combination, fit, score
from cxrflow.components.ensemble.settings import EnsembleConfig

SETTINGS = EnsembleConfig()

# Two members, three images, one class.
PROBABILITIES = np.array([[0.9, 0.4, 0.1], [0.5, 0.8, 0.3]])[..., None]
LOG_ODDS = logit(PROBABILITIES)
LABELS = np.array([[1], [1], [0]])


def probabilities(combination: Combination) -> np.ndarray:
    return expit(score(combination, LOG_ODDS))[:, 0]


def test_mean_and_weighted_by_hand():
    np.testing.assert_allclose(
        probabilities(fit("mean", LOG_ODDS, LABELS, SETTINGS)), [0.7, 0.6, 0.2]
    )
    weighted = Combination("weighted", np.array([0.25, 0.75]))
    np.testing.assert_allclose(probabilities(weighted), [0.6, 0.7, 0.25])


def test_max_vote_by_hand():
    combination = fit("max_vote", LOG_ODDS, LABELS, SETTINGS)
    np.testing.assert_allclose(probabilities(combination), [0.9, 0.8, 0.3])


def test_hard_vote_by_hand():
    combination = fit("hard_vote", LOG_ODDS, LABELS, SETTINGS)
    # Youden's points are .4 and .5; thresholds lie halfway, in log-odds, to .1 and .3.
    halfway = [(logit(0.4) + logit(0.1)) / 2, (logit(0.5) + logit(0.3)) / 2]
    np.testing.assert_allclose(combination.thresholds[:, 0], halfway)
    # Votes 2, 2, 0 of 2: (votes + 1/2) / 3.
    np.testing.assert_allclose(probabilities(combination), [2.5 / 3, 2.5 / 3, 0.5 / 3])


def test_stacked_is_scikit_learns_regression():
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    log_odds = random.normal(size=(3, 200, 2))
    labels = (random.random((200, 2)) < expit(log_odds[0] + 0.5 * log_odds[1])).astype(float)
    labels[:, 1] = 0  # a class without positives: the mean of log-odds
    combination = fit("stacked", log_odds, labels, SETTINGS)
    model = LogisticRegression(C=1.0).fit(log_odds[:, :, 0].T, labels[:, 0])
    combined = expit(score(combination, log_odds))
    np.testing.assert_allclose(
        combined[:, 0], model.predict_proba(log_odds[:, :, 0].T)[:, 1], atol=1e-4
    )
    np.testing.assert_allclose(combined[:, 1], expit(log_odds[:, :, 1].mean(axis=0)))
    assert combination.weights.sum() == pytest.approx(1)
    assert combination.weights.argmax() == 0


def test_weights_find_the_better_member_with_many_images_and_stay_even_with_few():
    random = np.random.default_rng(0)
    weights = {}
    for images in (30, 20_000):
        good = random.normal(-1, 1.5, (images, 1))
        labels = random.random((images, 1)) < expit(good)
        noise = random.permutation(good)
        weights[images] = fit("weighted", np.array([noise, good]), labels, SETTINGS).weights
        assert weights[images].sum() == pytest.approx(1)
    assert weights[20_000][1] > 0.95
    assert 0.5 < weights[30][1] < 0.85


def test_equal_members_weigh_the_same():
    weights = fit("weighted", np.repeat(LOG_ODDS[:1], 3, axis=0), LABELS, SETTINGS).weights
    np.testing.assert_allclose(weights, [1 / 3] * 3, atol=1e-4)


def test_a_class_with_one_label_votes_from_one_half():
    labels = np.zeros((3, 1))
    combination = fit("hard_vote", LOG_ODDS, labels, SETTINGS)
    np.testing.assert_array_equal(combination.thresholds, [[0], [0]])


def test_what_model_json_keeps():
    combination = fit("hard_vote", LOG_ODDS, LABELS, SETTINGS)
    assert combination.parameters["method"] == "hard_vote"
    assert 0.1 < combination.parameters["vote_thresholds"][0][0] < 0.4
    assert fit("mean", LOG_ODDS, LABELS, SETTINGS).parameters == {"method": "mean"}
    stacked = fit("stacked", LOG_ODDS, LABELS, SETTINGS).parameters
    assert stacked.keys() == {"method", "coefficients", "intercepts"}


@given(
    arrays(np.float64, (3, 6, 1), elements=st.floats(-60, 60)),
    st.sampled_from(["mean", "mean_logits", "weighted", "hard_vote", "max_vote"]),
)
def test_where_members_agree_the_ensemble_does(log_odds, method):
    labels = np.array([[0], [1], [0], [1], [0], [1]])
    combination = fit(method, log_odds, labels, SETTINGS)
    combined = score(combination, log_odds)
    assert np.isfinite(combined).all()
    if method != "hard_vote":
        assert (combined >= log_odds.min(axis=0) - 1e-6).all()
        assert (combined <= log_odds.max(axis=0) + 1e-6).all()
    # An image that every member finds more likely than another is not ranked below it.
    above = (log_odds[:, :, None, 0] >= log_odds[:, None, :, 0]).all(axis=0)
    assert (combined - combined.T >= -1e-9)[above].all()
