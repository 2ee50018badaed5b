"""An unknown label (NaN) is as if the image weren't there for its class, and for no other class."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cxrflow.components.edge.parity.decisions import Decisions
from cxrflow.components.ensemble.combine import fit as combine
from cxrflow.components.ensemble.settings import EnsembleConfig
from cxrflow.components.evaluate.evidence.figures import Figures, patients_with
from cxrflow.components.evaluate.evidence.judge import judge
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.statistics.auc import drawn_aucs
from cxrflow.components.evaluate.statistics.draws import Draws
from cxrflow.components.model.calibration import fit as calibrate
from cxrflow.components.model.metrics import binary_crossentropy, per_class_auc
from cxrflow.components.model.probe import fit_probe
from cxrflow.components.model.thresholds import class_thresholds
from cxrflow.pipeline.reports.dashboard.operating import counts_at
from cxrflow.schema.labels import known_columns, shares
from tests.components.evaluate.evidence_maker import evidence, results_of, scored, table

NAN = float("nan")
IMAGES = 120
_random = np.random.default_rng(5)
LOGITS = _random.normal(size=(IMAGES, 2))
LABELS = (_random.random((IMAGES, 2)) < expit(2 * LOGITS)).astype(np.float32)
KNOWN = _random.random(IMAGES) < 0.6
MASKED = LABELS.copy()
MASKED[~KNOWN, 0] = NAN  # the second class is known of all


@pytest.mark.parametrize(
    "of",
    [
        lambda y, x: per_class_auc(y, x),
        lambda y, x: [calibrate(x, y).slope, calibrate(x, y).intercept],
        lambda y, x: drawn_aucs(y, x, Draws.of(np.arange(len(y)), 100))[:, 0],
        lambda y, x: combine("hard_vote", np.stack([x, -x]), y, EnsembleConfig()).thresholds,
        lambda y, x: combine("stacked", np.stack([x, -(x**3)]), y, EnsembleConfig()).coefficients,
        lambda y, x: patients_with(y, np.arange(len(y)), 0),
        lambda y, x: shares(y),
    ],
)
def test_what_is_computed_of_a_class_is_of_the_images_of_which_it_is_known(of):
    found = np.array(of(MASKED, LOGITS))
    of_known, of_all = of(LABELS[KNOWN], LOGITS[KNOWN]), of(LABELS, LOGITS)
    np.testing.assert_allclose(found[..., 0], np.array(of_known)[..., 0], rtol=1e-9)
    np.testing.assert_allclose(found[..., 1], np.array(of_all)[..., 1], rtol=1e-9)


def test_thresholds_are_of_the_known():
    names, p = ["a", "b"], expit(LOGITS)
    found = class_thresholds(names, MASKED, p, 0.9, 0.9)
    assert found["a"] == class_thresholds(names, LABELS[KNOWN], p[KNOWN], 0.9, 0.9)["a"]
    assert found["b"] == class_thresholds(names, LABELS, p, 0.9, 0.9)["b"]


def test_a_class_that_is_known_of_no_image_has_no_figure():
    labels = MASKED.copy()
    labels[:, 0] = NAN
    draws = Draws.of(np.arange(IMAGES), 100)
    assert np.isnan(per_class_auc(labels, LOGITS)[0])
    assert np.isnan(drawn_aucs(labels, LOGITS, draws)[0]).all()
    assert calibrate(LOGITS, labels).slope[0] == 1
    assert class_thresholds(["a", "b"], labels, expit(LOGITS), 0.9, 0.9)["a"] is None
    assert [len(truth) for truth, _ in known_columns(labels)] == [0, IMAGES]


def test_the_eval_loss_is_the_mean_of_the_known_labels():
    labels = np.array([[1, NAN], [0, 1]], np.float32)
    said = np.log(3) * np.array([[1, 9], [1, -1]])  # sigmoid: 3/4, any, 3/4, 1/4
    wanted = -(np.log(0.75) + 2 * np.log(0.25)) / 3
    assert binary_crossentropy(labels, said) == pytest.approx(wanted)


def test_weights_of_members_don_t_depend_on_unknown_labels():
    x = np.stack([LOGITS, LOGITS[::-1]])
    weights = combine("weighted", x, MASKED, EnsembleConfig()).weights
    other = x.copy()
    other[:, ~KNOWN, 0] = 50
    np.testing.assert_allclose(
        combine("weighted", other, MASKED, EnsembleConfig()).weights, weights
    )


def test_a_probe_learns_a_class_from_the_images_of_which_it_is_known():
    features = np.random.default_rng(1).normal(size=(IMAGES, 4)) + LOGITS[:, :1]
    probe = fit_probe(features, MASKED, np.arange(IMAGES), strengths=[1.0], balanced=False)
    standard = (features - features.mean(axis=0)) / features.std(axis=0) / 2
    model = LogisticRegression(tol=1e-8).fit(standard[KNOWN], LABELS[KNOWN, 0])
    expected = model.decision_function(standard)
    np.testing.assert_allclose(probe.logits(features)[:, 0], expected, atol=2e-3)
    assert np.isfinite(probe.out_of_fold).all()


def _unknown_for(scores, place, mask):
    labels = scores.images.labels.astype(np.float32)
    labels[mask, place] = NAN
    return type(scores)(
        **{
            **vars(scores),
            "images": type(scores.images)(**{**vars(scores.images), "labels": labels}),
        }
    )


def test_the_gate_judges_a_class_on_the_images_of_which_it_is_known():
    """The verdict on the class is that on a test split that has only these images of it."""
    plain = scored(table(900, 1), 1.5, 2)
    hidden = np.random.default_rng(0).random(900) < 0.4
    masked = _unknown_for(plain, 0, hidden)
    results = results_of(plain.rows(~hidden))[:1] + results_of(plain)[1:]
    limits = FinalLimits(min_positive_patients=5)
    given = evidence(test=masked)
    found = judge(type(given)(**{**vars(given), "results": {"split=test": results}}), limits)
    alone = judge(evidence(test=plain.rows(~hidden)), limits)
    whole = judge(evidence(test=plain), limits)
    assert found.classes[0].auc.value == alone.classes[0].auc.value
    for name in ("delong", "brier_of_share", "positive_patients", "negative_patients", "status"):
        assert getattr(found.classes[0], name) == getattr(alone.classes[0], name), name
    for figure in ("ece", "brier"):
        value = getattr(found.classes[0], figure).value
        assert value == pytest.approx(getattr(alone.classes[0], figure).value)
    assert found.classes[1] == whole.classes[1]
    assert found.images == 900


def test_figures_of_a_class_nobody_knows_are_not_computed():
    scores = _unknown_for(scored(table(60, 1), 1.5, 2), 1, np.ones(60, bool))
    found = Figures.of(scores, Draws.of(scores.images.patient_id, 100))
    assert all(np.isnan(drawn[1]).all() for drawn in found.by_metric().values())
    assert np.isfinite(found.brier[0]).all()


def test_counts_at_an_operating_point_leave_unknown_ones_out():
    scores = _unknown_for(scored(table(60, 1), 1.5, 2), 0, np.arange(60) < 20)
    at = counts_at(scores, 0, {"youden": 0.3})["youden"]
    total = at.true_positives + at.false_positives + at.false_negatives + at.true_negatives
    assert total == 40


def test_a_device_s_rates_leave_unknown_ones_out():
    source = expit(LOGITS)
    points = {"youden": {"threshold": 0.5, "sensitivity": 0.0, "specificity": 0.0}}
    thresholds = {"a": points, "b": points}

    def own(labels, rows):
        one = Decisions(source[rows], labels, np.arange(len(labels)), "ab", thresholds, 5, 100)
        return one._own(source[rows] * 0.9)["a"]["youden"]

    everyone = np.ones(IMAGES, bool)
    called = source[KNOWN, 0] * 0.9 >= own(MASKED, everyone)["threshold"]
    positive = LABELS[KNOWN, 0] > 0
    assert own(MASKED, everyone)["sensitivity"] == pytest.approx(called[positive].mean())
    assert own(MASKED, everyone)["specificity"] == pytest.approx((~called[~positive]).mean())
