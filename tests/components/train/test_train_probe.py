"""A probe through run_fn: what is exported, and what it is judged by."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logit

from cxrflow.components.images.pixels import to_pixels
from cxrflow.components.model.calibration import Calibration, fit
from cxrflow.components.model.folds import cross_fit_folds, require_patients
from cxrflow.components.model.metrics import per_class_auc
from cxrflow.components.model.out_of_fold import FILE_NAME, read_out_of_fold
from cxrflow.components.train.inputs import read_transformed
from cxrflow.schema.errors import CxrflowError
from tests.support.tiny_training import CLASSES, run

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]

# Maps of 16, 32 and 8 places a side, the last two with means over 2 × 2 cells too.
RECIPE = {
    "head": "probe",
    "feature_layers": ["conv1_relu", "conv0_relu"],
    "cell_layers": ["conv0_relu", "conv2_relu"],
    "cells": 2,
}


@pytest.fixture(scope="module")
def cross_fitted(tiny, tiny_backbone, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("probe")
    run(str(tiny.folder), str(out), **RECIPE, cross_fit=4)
    return out / "Format-Serving"


@pytest.fixture(scope="module")
def plain(tiny, tiny_backbone, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain")
    run(str(tiny.folder), str(out), **RECIPE)
    return out / "Format-Serving"


def logits_of(saved_model: Path, examples: list[bytes]) -> np.ndarray:
    loaded = tf.saved_model.load(str(saved_model))
    found = loaded.signatures["transformed_examples"](examples=tf.constant(examples))
    return found["logits"].numpy()


def calibration_of(saved_model: Path) -> Calibration:
    info = json.loads((saved_model / "assets.extra/model.json").read_text())
    return Calibration.from_json(info["calibration"], CLASSES)


def test_its_map_tells_what_is_unusual_at_a_place(plain, tiny):
    """Over the training images, the mean of all places is the same: none is lighter by itself."""
    network = tf.saved_model.load(str(plain)).signatures["network"]
    images = read_transformed([f"{tiny.folder}/Split-train/*"], "jpeg", 64, 64, 3)
    maps = np.concatenate(
        [network(image=to_pixels(pixels))["attention"].numpy() for pixels, _ in images]
    )
    usual = logit(maps.astype(np.float64)).mean(axis=0)  # [s, s, C]
    assert np.ptp(usual.reshape(-1, 3), axis=0).max() < 1e-3
    assert logit(maps).std(axis=0).max() > 0.05  # and an image has places of its own


def test_it_is_judged_by_models_of_other_patients(cross_fitted, tiny):
    found = read_out_of_fold(cross_fitted)

    assert found.image_id.tolist() == [f"train_{i:03d}" for i in range(64)] + [
        f"eval_{i:03d}" for i in range(24)
    ]
    assert found.patient_id[66] == "eval_1"
    assert per_class_auc(found.labels, found.logits)[:2].min() > 0.8
    eval_rows = found.rows_of(np.array([f"eval_{i:03d}" for i in range(24)]))
    seen = logits_of(cross_fitted, tiny.transformed)
    # It has learned from these images; those that judged it haven't.
    loss = [
        np.logaddexp(0, np.where(found.labels[eval_rows] > 0, -x, x))[:, :2].mean()
        for x in (seen, found.logits[eval_rows])
    ]
    assert loss[0] < loss[1]
    expected = fit(found.logits, found.labels)
    calibration = calibration_of(cross_fitted)
    np.testing.assert_allclose(calibration.slope, expected.slope, rtol=1e-5)
    np.testing.assert_allclose(
        found.probabilities, expit(calibration.log_odds(found.logits)), atol=1e-6
    )


def test_what_is_pushed_names_no_patient(cross_fitted):
    inside = [path.name for path in cross_fitted.rglob("*")]
    assert FILE_NAME not in inside
    assert (cross_fitted.parent / FILE_NAME).is_file()


def test_without_cross_fitting_it_is_judged_on_eval(plain, cross_fitted, tiny):
    assert read_out_of_fold(plain) is None
    logits = logits_of(plain, tiny.transformed)
    labels = read_out_of_fold(cross_fitted).labels[64:]
    assert per_class_auc(labels, logits)[:2].min() > 0.8
    np.testing.assert_allclose(calibration_of(plain).slope, fit(logits, labels).slope, rtol=1e-3)


def test_a_class_without_cases_stays_a_constant(plain, tiny):
    assert np.ptp(logits_of(plain, tiny.transformed)[:, 2]) < 1e-5


def test_attention_is_the_layer_at_every_place(plain, tiny):
    loaded = tf.saved_model.load(str(plain))
    pixels = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)), tf.float32)
    found = loaded.signatures["network"](image=pixels)

    attention = found["attention"].numpy()
    assert attention.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(
        logit(attention.astype(np.float64)).mean(axis=(1, 2)), found["logits"], atol=2e-2
    )


def test_the_same_data_give_the_same_probe(plain, tiny, tmp_path):
    run(str(tiny.folder), str(tmp_path), **RECIPE, deterministic=True)
    again = logits_of(tmp_path / "Format-Serving", tiny.transformed)
    np.testing.assert_allclose(again, logits_of(plain, tiny.transformed), atol=1e-3)


def test_more_folds_than_patients_with_a_class_are_refused_before_training():
    cases = {"Mass": 2, "Hernia": 0}
    require_patients(cases, 2)  # no case at all: nothing to split
    with pytest.raises(CxrflowError, match=r"cross_fit 3.* 3 patients.*Mass 2; lower cross_fit"):
        require_patients(cases, 3)


def test_a_run_with_too_many_folds_stops(tiny, tmp_path):
    with pytest.raises(CxrflowError, match=r"train\.cross_fit 44.*Left"):
        run(str(tiny.folder), str(tmp_path), **RECIPE, cross_fit=44)


@pytest.mark.parametrize(
    ("cross_fit", "images", "folds"),
    [(0, 100, 0), (7, 10**6, 7), ("auto", 10_000, 5), ("auto", 10_001, 0)],
)
def test_auto_cross_fits_small_data(cross_fit, images, folds):
    assert cross_fit_folds(cross_fit, images) == folds
