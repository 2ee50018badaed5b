"""The score of what is no chest X-ray: by hand, in the graph, and where data are too few."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxrflow.components.model.settings import OutOfDistributionConfig
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson, OutOfDistribution
from cxrflow.schema.portable.out_of_distribution import (
    FILE,
    LEAST,
    Detector,
    cells,
    features,
    read_detector,
    write_detector,
)

CONFIG = OutOfDistributionConfig(grid=2, images=100, min_images=10)


def stored(folder: Path, images: np.ndarray):
    from cxrflow.components.train import store

    labels = np.zeros((len(images), 1), np.float32)
    return store.write(folder, [(images[..., None], labels)])


def xrays(count: int, seed: int, size: int = 16) -> np.ndarray:
    """A bright upper half, each image brighter or darker, with some noise."""
    random = np.random.default_rng(seed)
    levels = np.repeat([[150.0], [60.0]], size // 2, axis=0)
    levels = levels * random.uniform(0.8, 1.2, (count, 1, 1))
    return np.clip(levels + random.normal(0, 9, (count, size, size)), 0, 255).astype(np.uint8)


def test_cells_are_equal_pieces_in_their_order():
    assert cells(5, 2).tolist() == [[0.5, 0.5, 0, 0, 0], [0, 0, *3 * [pytest.approx(1 / 3)]]]
    assert cells(3, 3).tolist() == np.eye(3).tolist()


def test_features_by_hand():
    image = np.array([[0, 51, 0, 0], [51, 0, 0, 0], [7, 7, 9, 9], [7, 7, 9, 9]], np.uint8)
    found = features(image[None], 2).reshape(2, 2, 4)
    np.testing.assert_allclose(found[..., 0] * 255, [[25.5, 0], [7, 9]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(found[..., 1]) - LEAST, [[25.5, 0], [0, 0]], atol=1e-4)
    # Steps to the right, 3 a row: the first of the left cell, two of the right one.
    np.testing.assert_allclose(
        np.exp(found[..., 2]) - LEAST, [[51, (51 + 0 + 0 + 0) / 4], [0, (2 + 2) / 4]], atol=1e-4
    )
    # Steps down, 3 a column: the first of the upper cells, two of the lower ones.
    np.testing.assert_allclose(
        np.exp(found[..., 3]) - LEAST, [[51, 0], [(44 + 7) / 4, (9 + 9) / 4]], atol=1e-4
    )


def test_a_score_by_hand():
    detector = Detector(1, np.zeros(4, np.float32), np.diag(np.float32([10, 0, 0, 0])))
    pixels = np.stack([np.full((4, 4), level, np.uint8) for level in (0, 51, 255)])
    np.testing.assert_allclose(detector.scores(pixels), [0, (0.2 * 10) ** 2, 100], rtol=1e-6)


@pytest.mark.slow
def test_the_distance_is_scikit_learns():
    from sklearn.covariance import LedoitWolf

    from cxrflow.components.train.out_of_distribution import fit_detector

    found = features(xrays(60, 0), 1)
    detector = fit_detector(found, 1)
    other = xrays(5, 1)[:, ::-1].copy()
    standard = LedoitWolf().fit((found - found.mean(0)) / found.std(0))
    expected = standard.mahalanobis((features(other, 1) - found.mean(0)) / found.std(0))
    np.testing.assert_allclose(detector.scores(other), expected, rtol=1e-3)


@pytest.mark.tf
@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, (2, 11, 11)), st.sampled_from([1, 3]))
def test_the_graph_says_what_numpy_says(pixels, grid):
    from cxrflow.components.model.out_of_distribution import scorer
    from cxrflow.components.train.out_of_distribution import fit_detector

    detector = fit_detector(features(xrays(40, 0, 22)[:, ::2, ::2], grid), grid)
    rgb = np.repeat(pixels[..., None].astype(np.float32), 3, axis=-1)
    np.testing.assert_allclose(
        scorer(detector)(rgb).numpy(), detector.scores(pixels), rtol=1e-3, atol=1e-2
    )


@pytest.mark.tf
def test_fitted_on_train_with_a_threshold_of_eval(tmp_path):
    from cxrflow.components.train.out_of_distribution import fit

    train, evaluation = xrays(90, 0), xrays(50, 1)
    detector, found = fit(stored(tmp_path / "a", train), stored(tmp_path / "b", evaluation), CONFIG)
    scores = np.sort(detector.scores(evaluation))
    assert found == OutOfDistribution(float(scores[-2]), 0.96, 90, 50)  # 48 of 50 are within
    assert (detector.scores(xrays(200, 2)) > found.threshold).mean() < 0.15
    strange = np.concatenate(
        [xrays(20, 3)[:, ::-1], 255 - xrays(20, 4), np.full((1, 16, 16), 128, np.uint8)]
    )
    assert (detector.scores(strange) > found.threshold).all()


@pytest.mark.tf
def test_images_are_spread_evenly_up_to_the_cap(tmp_path):
    from cxrflow.components.train.out_of_distribution import fit

    images = np.concatenate([xrays(30, 0), 255 - xrays(30, 1)])
    both = stored(tmp_path / "a", images)
    _, found = fit(both, both, replace(CONFIG, images=20))
    assert (found.training_images, found.eval_images) == (20, 20)
    detector, _ = fit(both, both, replace(CONFIG, images=20))
    assert detector.center.reshape(2, 2, 4)[..., 0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.tf
@pytest.mark.parametrize(
    ("images", "word"),
    [
        (xrays(9, 0), "9 training images are too few, out_of_distribution.min_images is 10"),
        (np.full((20, 16, 16), 7, np.uint8), "all training images are the same"),
    ],
)
def test_what_doesnt_tell_is_said_and_left_out(images, word, tmp_path, caplog):
    from cxrflow.components.train.out_of_distribution import fit

    train, evaluation = stored(tmp_path / "a", images), stored(tmp_path / "b", xrays(5, 1))
    with caplog.at_level(logging.WARNING):
        assert fit(train, evaluation, CONFIG) == (None, None)
    assert word in caplog.text
    caplog.clear()
    assert fit(train, evaluation, replace(CONFIG, enabled=False)) == (None, None)
    assert not caplog.text


@pytest.mark.tf
def test_a_region_that_never_varies_doesnt_count_without_bound(tmp_path):
    from cxrflow.components.train.out_of_distribution import fit

    train, evaluation = xrays(90, 0), xrays(50, 1)
    for images in (train, evaluation):
        images[:, :, :8] = 0  # a black margin
    detector, found = fit(stored(tmp_path / "a", train), stored(tmp_path / "b", evaluation), CONFIG)
    assert np.isfinite(detector.whitening).all()
    almost = evaluation.copy()
    almost[:, :, :8] = 1  # a gray level of JPEG noise
    assert (detector.scores(almost) <= found.threshold).mean() > 0.9


def test_a_detector_is_read_as_it_was_written(tmp_path):
    path = str(tmp_path / FILE)
    detector = Detector(1, np.arange(4, dtype=np.float32), np.eye(4, dtype=np.float32))
    write_detector(path, detector)
    found = read_detector(path)
    assert found.grid == 1
    for one, other in zip(found[1:], detector[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    write_detector(path, detector._replace(grid=2))
    with pytest.raises(ValueError, match="grid of 2 cells"):
        read_detector(path)
    for content in (b"", b"no archive", b"PK\x03\x04 cut"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(ValueError):
            read_detector(path)


@pytest.mark.tf
def test_a_model_without_its_detectors_file_is_refused_in_words(tmp_path):
    from cxrflow.components.model.assets import load_detector

    assert load_detector(tmp_path, ModelJson(("A",))) is None
    with pytest.raises(CxrflowError, match="train the model anew"):
        load_detector(tmp_path, ModelJson(("A",), out_of_distribution=OutOfDistribution(1.0)))
