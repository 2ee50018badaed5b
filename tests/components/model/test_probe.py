"""The linear probe: what it fits, what it has seen, and its folding into one layer."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cxrflow.components.model import probe as probes
from cxrflow.components.model.folds import patient_folds
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.probe import fit_probe
from cxrflow.schema.errors import CxrflowError


def made(images: int, dimensions: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Features of very different sizes and labels that depend on some of them."""
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.integers(-2, 3, dimensions)
    features = random.normal(3.0, 1.0, (images, dimensions))
    noise = random.normal(0, 1.0, (images, classes))
    labels = (features[:, :classes] - 3.0 + noise > 0.5).astype(np.float32)
    return (features * sizes).astype(np.float32), labels


@pytest.mark.parametrize("dimensions", [5, 60])  # fewer and more than the images
@pytest.mark.parametrize("balanced", [True, False])
def test_it_is_scikit_learns_regression_of_standardised_features(
    dimensions: int, balanced: bool
) -> None:
    features, labels = made(40, dimensions)

    probe = fit_probe(features, labels, np.arange(40), strengths=[0.5], balanced=balanced)

    standard = (features - features.mean(axis=0)) / features.std(axis=0) / np.sqrt(dimensions)
    for c in range(2):
        model = LogisticRegression(C=0.5, class_weight="balanced" if balanced else None, tol=1e-8)
        expected = model.fit(standard, labels[:, c]).decision_function(standard)
        np.testing.assert_allclose(probe.logits(features)[:, c], expected, atol=2e-3)


def test_each_image_is_scored_by_what_was_fitted_to_other_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Labels have a say in the folds: here they have none, so that others leave the folds alone.
    monkeypatch.setattr(
        probes, "patient_folds", lambda whose, y, count: patient_folds(whose, y * 0, count)
    )
    features, labels = made(40, 60)
    patients = np.arange(40) // 2
    probe = fit_probe(features, labels, patients, folds=4, strengths=[0.5])

    others, held_out = next(patient_folds(patients, labels * 0, 4))
    assert not set(patients[others]) & set(patients[held_out])
    changed = labels.copy()
    changed[held_out] = 1 - changed[held_out]
    blind = fit_probe(features, changed, patients, folds=4, strengths=[0.5])

    np.testing.assert_allclose(blind.out_of_fold[held_out], probe.out_of_fold[held_out], atol=1e-6)
    assert np.abs(blind.logits(features) - probe.logits(features)).max() > 0.1


def test_a_patients_own_mark_brings_nothing_on_others() -> None:
    patients = np.repeat(np.arange(20), 3)
    features = np.eye(20, dtype=np.float32)[patients]
    labels = (patients % 2)[:, None].astype(np.float32)

    probe = fit_probe(features, labels, patients)

    assert per_class_auc(labels, probe.logits(features))[0] == 1.0
    for _, held_out in patient_folds(patients, labels, 5):
        assert np.ptp(probe.out_of_fold[held_out]) < 1e-6  # all alike


def test_the_strength_with_the_best_auc_out_of_fold_is_taken() -> None:
    features, labels = made(60, 30, classes=1)
    patients = np.arange(60)
    aucs = {
        strength: per_class_auc(
            labels, fit_probe(features, labels, patients, strengths=[strength]).out_of_fold
        )[0]
        for strength in (0.01, 1.0, 1000.0)
    }

    probe = fit_probe(features, labels, patients, strengths=list(aucs))

    assert probe.strength == max(aucs, key=lambda strength: aucs[strength])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_class_with_one_label_only_gets_its_prevalence(value: float) -> None:
    features, labels = made(19, 30)
    labels[:, 1] = value

    probe = fit_probe(features, labels, np.arange(19))

    odds = (19.5 / 0.5) if value else (0.5 / 19.5)
    np.testing.assert_allclose(probe.logits(features)[:, 1], np.log(odds), rtol=1e-4)
    assert np.isfinite(probe.out_of_fold).all()


def test_features_that_never_vary_change_nothing() -> None:
    features, labels = made(30, 10)
    constant = np.concatenate([features, np.full((30, 3), 7.0, np.float32)], axis=1)

    probe = fit_probe(constant, labels, np.arange(30))

    assert not probe.kernel[10:].any()
    np.testing.assert_allclose(
        probe.out_of_fold, fit_probe(features, labels, np.arange(30)).out_of_fold, atol=1e-4
    )


def test_features_all_alike_give_constants() -> None:
    _, labels = made(20, 5)
    probe = fit_probe(np.ones((20, 5), np.float32), labels, np.arange(20))
    assert not probe.kernel.any()


def test_one_patient_alone_is_refused() -> None:
    features, labels = made(8, 3)
    with pytest.raises(CxrflowError, match="one patient"):
        fit_probe(features, labels, np.zeros(8))


def test_features_that_are_not_finite_are_refused() -> None:
    features, labels = made(8, 3)
    features[2, 1] = np.inf
    with pytest.raises(CxrflowError, match="not finite"):
        fit_probe(features, labels, np.arange(8))
