"""A class learns from the logits of all classes, and out of fold nothing of its own patients."""

import numpy as np
import pytest

from cxrflow.components.model.folds import patient_folds
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.probe import fit_probe
from cxrflow.components.model.second_level import fit_second_level


def made(images: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Features that show a finding, and labels of it, of one that comes with it, and of noise."""
    random = np.random.default_rng(0)
    features = random.normal(size=(images, 6)).astype(np.float32)
    shown = features[:, 0] + random.normal(0, 0.5, images) > 0.5
    beside = shown ^ (random.random(images) < 0.1)
    return features, np.column_stack([shown, beside, random.random(images) < 0.3]).astype(float)


def test_a_class_learns_from_another_that_it_comes_with() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([[1.0, 1.0], [0.0, 0.0]], 100, axis=0)
    own = random.normal(0, 1, 200)  # says nothing
    other = 4 * labels[:, 0] - 2 + random.normal(0, 1, 200)
    logits = np.column_stack([own, other])
    found = fit_second_level(logits, labels).apply(logits)
    before, after = (per_class_auc(labels, x) for x in (logits, found))
    assert before[0] < 0.6 and after[0] > 0.95
    assert after[1] == pytest.approx(before[1], abs=0.01)


def test_classes_that_tell_nothing_of_each_other_stay() -> None:
    random = np.random.default_rng(2)
    labels = (random.random((4000, 3)) < 0.3).astype(float)
    logits = 2 * labels + random.normal(0, 1, labels.shape)
    found = fit_second_level(logits, labels)
    np.testing.assert_allclose(found.matrix, np.eye(3), atol=0.08)


def test_a_class_with_one_label_only_stays_and_unknown_labels_do_not_count() -> None:
    random = np.random.default_rng(3)
    labels = (random.random((50, 3)) < 0.5).astype(float)
    labels[:, 1] = 0
    logits = labels + random.normal(0, 1, labels.shape)
    found = fit_second_level(logits, labels)
    np.testing.assert_array_equal(found.matrix[:, 1], [0, 1, 0])
    assert found.bias[1] == 0
    unknown = labels.copy()
    unknown[::2, 2] = np.nan
    half = fit_second_level(logits, unknown)
    changed = labels.copy()
    changed[::2, 2] = 1 - changed[::2, 2]
    changed[::2, 2] = np.nan
    np.testing.assert_array_equal(half.matrix, fit_second_level(logits, changed).matrix)
    assert np.isfinite(half.matrix).all()


def test_a_probe_holds_it_in_its_one_layer() -> None:
    features, labels = made()
    plain, second = (
        fit_probe(features, labels, np.arange(400), strengths=[1.0], second_level=yes)
        for yes in (False, True)
    )
    layer = fit_second_level(plain.out_of_fold.astype(float), labels)
    np.testing.assert_allclose(
        second.logits(features), layer.apply(plain.logits(features)), atol=1e-3
    )


def test_out_of_fold_it_has_seen_no_label_of_the_images_patient() -> None:
    features, labels = made(120)
    patients = np.arange(120) // 2
    _, held_out = next(patient_folds(patients, labels, 4))
    changed = labels.copy()
    changed[held_out] = changed[held_out ^ 1]  # a patient's two images change places: same folds
    probe, blind = (
        fit_probe(features, y, patients, folds=4, strengths=[1.0], second_level=True)
        for y in (labels, changed)
    )
    np.testing.assert_allclose(blind.out_of_fold[held_out], probe.out_of_fold[held_out], atol=1e-6)
    assert np.abs(blind.logits(features) - probe.logits(features)).max() > 0.1
