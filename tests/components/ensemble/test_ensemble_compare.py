"""Who is scored on what, and who is chosen."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from cxrflow.components.ensemble.combine import fit, score
from cxrflow.components.ensemble.compare import Predictions, compare, cross_fit
from cxrflow.components.ensemble.settings import METHODS, EnsembleConfig
from cxrflow.schema.errors import CxrflowError

SETTINGS = EnsembleConfig()


def predictions(images: int, seed: int, members: int = 3) -> Predictions:
    """Members that see one truth through noise of their own; class B has no positive."""
    random = np.random.default_rng(seed)
    truth = random.normal(-1, 2, (images, 2))
    labels = (random.random((images, 2)) < expit(truth)).astype(np.float32)
    labels[:, 1] = 0
    noise = random.normal(0, 1.5, (members, images, 2))
    return Predictions(truth + noise, labels, np.arange(images) // 3)


def noisy(known: Predictions, members: list[int]) -> Predictions:
    """Returns the predictions with members that know nothing."""
    log_odds = known.log_odds.copy()
    log_odds[members] = np.random.default_rng(5).normal(0, 3, log_odds[members].shape)
    return dataclasses.replace(known, log_odds=log_odds)


def rows(known: Predictions, count: int) -> Predictions:
    return Predictions(known.log_odds[:, :count], known.labels[:count], known.patients[:count])


@pytest.fixture(scope="module")
def data() -> dict[str, Predictions]:
    return {"eval": predictions(600, 0), "test": predictions(600, 1)}


def test_everyone_is_scored_on_both_splits(data):
    found = compare(["a", "b", "c"], data, SETTINGS)
    for split, known in data.items():
        scores = found.scores[split]
        assert set(scores) == {"a", "b", "c", *METHODS}
        assert scores["b"][0] == roc_auc_score(known.labels[:, 0], known.log_odds[1, :, 0])
        assert all(np.isnan(aucs[1]) for aucs in scores.values())
        # Independent noise averages out.
        assert scores["mean"][0] > max(scores[name][0] for name in "abc")
    assert "5-fold" in found.eval_note


def test_equal_members_are_averaged_whichever_method_happens_to_be_first(data):
    """Members differ in their noise alone, so that no method can be better than the mean."""
    found = compare(["a", "b", "c"], data, SETTINGS)
    scores = {name: aucs[0] for name, aucs in found.scores["eval"].items() if name in found.methods}
    assert max(scores, key=scores.get) != "mean"
    assert found.chosen == "mean"


def test_a_method_that_beats_the_mean_by_more_than_chance_is_chosen_on_eval_alone(data):
    """Two members are noise, so that one has to be found."""
    blind = {split: noisy(known, [1, 2]) for split, known in data.items()}
    first = compare(["a", "b", "c"], blind, SETTINGS)
    scores = {name: aucs[0] for name, aucs in first.scores["eval"].items() if name in first.methods}
    assert first.chosen != "mean"
    assert scores[first.chosen] > scores["mean"] + 0.05
    upside_down = dataclasses.replace(blind["test"], labels=1 - blind["test"].labels)
    second = compare(["a", "b", "c"], blind | {"test": upside_down}, SETTINGS)
    assert second.chosen == first.chosen


def test_few_patients_are_no_reason_to_leave_the_mean(data):
    """Compares the members on 30 images of 10 patients."""
    few = {split: rows(noisy(known, [1, 2]), 30) for split, known in data.items()}
    assert compare(["a", "b", "c"], few, SETTINGS).chosen == "mean"


def test_configuration_chooses(data):
    assert compare(["a", "b", "c"], data, EnsembleConfig(method="max_vote")).chosen == "max_vote"


def test_fitted_methods_are_scored_on_patients_they_have_not_seen():
    """On pure noise, a regression over many members looks good where it was fitted, only there."""
    random = np.random.default_rng(0)
    labels = np.repeat(random.integers(0, 2, (60, 1)), 3, axis=0)  # a patient's images agree
    patients = np.repeat(np.arange(60), 3)
    log_odds = np.repeat(random.normal(size=(30, 60, 1)), 3, axis=1)
    noise = Predictions(log_odds, labels, patients)
    fitted = score(fit("stacked", log_odds, labels, SETTINGS), log_odds)
    assert roc_auc_score(labels, fitted) > 0.9
    assert roc_auc_score(labels, cross_fit("stacked", noise, SETTINGS, 5)) < 0.65
    # Without grouping by patient, the other images of each would give the labels away.
    leaking = dataclasses.replace(noise, patients=np.arange(180))
    assert roc_auc_score(labels, cross_fit("stacked", leaking, SETTINGS, 5)) > 0.85


def test_majority_is_more_than_half():
    data = {split: predictions(60, 3, members=2) for split in ("eval", "test")}
    found = compare(["a", "b"], data, SETTINGS)
    combination = found.methods["hard_vote"].combination
    votes = data["test"].log_odds >= combination.thresholds[:, None]
    majority = votes.mean(axis=0) > 0.5
    expected = roc_auc_score(data["test"].labels[:, 0], majority[:, 0])
    assert found.scores["test"]["hard_vote_majority"][0] == expected


def test_one_member_is_alone():
    data = {split: predictions(60, 3, members=1) for split in ("eval", "test")}
    found = compare(["a"], data, EnsembleConfig(method="stacked"))
    assert found.chosen == "a"
    np.testing.assert_array_equal(found.methods["a"].combination.weights, [1])
    assert list(found.scores["test"]) == ["a"]
    assert "a is alone" in found.eval_note


def test_one_patient_is_not_enough(data):
    alone = dataclasses.replace(data["eval"], patients=np.zeros(600))
    with pytest.raises(CxrflowError, match="one patient"):
        compare(["a", "b", "c"], data | {"eval": alone}, SETTINGS)


def test_two_patients_make_two_folds(data):
    two = dataclasses.replace(data["eval"], patients=np.arange(600) // 300)
    assert "2-fold" in compare(["a", "b", "c"], data | {"eval": two}, SETTINGS).eval_note
