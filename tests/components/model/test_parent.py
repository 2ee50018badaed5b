"""Starting from a pushed model: which one is meant, and what of its weights fits."""

import hashlib

import numpy as np
import pytest

from cxrflow.components.model.parent import find_parent, load_parent
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf


def network(widths, classes, seed):
    """A backbone and the network with its head."""
    import keras

    keras.utils.set_random_seed(seed)
    x = pixels = keras.Input((32, 32, 3))
    for i, width in enumerate(widths):
        x = keras.layers.Conv2D(width, 3, 2, use_bias=False, name=f"conv{i}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{i}")(x)
    backbone = keras.Model(pixels, x)
    logits = keras.layers.Dense(classes, name="logits")(keras.layers.GlobalMaxPooling2D()(x))
    return backbone, keras.Model(pixels, logits)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A run's folder with version 7 of a model; returns it and the model's backbone."""
    import keras
    import tensorflow as tf

    root = tmp_path_factory.mktemp("run")
    backbone, whole = network((4, 8), 3, seed=1)
    archive = keras.export.ExportArchive()
    archive.track(whole)
    spec = tf.TensorSpec((None, 32, 32, 3), tf.float32, "image")
    archive.add_endpoint("pixels", lambda image: {"probabilities": whole(image)}, [spec])
    archive.write_out(str(root / "serving" / "cxrflow" / "7"), verbose=False)
    return root, backbone


def test_a_run_a_model_and_a_version_mean_the_same(parent):
    root, _ = parent
    version = root / "serving" / "cxrflow" / "7"
    for given in (root, version.parent, version):
        assert find_parent(str(given)) == version


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(CxrflowError, match="has no pushed model: give a run's folder"):
        find_parent(str(tmp_path))


def test_the_backbone_is_the_parents_and_the_head_is_new(parent):
    root, theirs = parent
    ours, whole = network((4, 8), 5, seed=2)
    before = whole.get_layer("logits").get_weights()[0]
    said = load_parent(ours, find_parent(str(root)))
    pb = (root / "serving" / "cxrflow" / "7" / "saved_model.pb").read_bytes()
    assert said == (
        "4 of 4 backbone layers (444 of 444 weights) are those of cxrflow 7 (saved_model.pb "
        f"{hashlib.sha256(pb).hexdigest()[:12]}); the head is new"
    )
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(whole.get_layer("logits").get_weights()[0], before)


def test_what_does_not_match_is_said_and_stays(parent):
    root, theirs = parent
    ours, _ = network((4, 8, 2), 5, seed=2)
    before = ours.get_layer("conv2").get_weights()[0]
    said = load_parent(ours, find_parent(str(root)))
    assert said.startswith("4 of 6 backbone layers (444 of 596 weights)")
    assert "not in it, or of another shape: conv2, bn2" in said
    np.testing.assert_array_equal(ours.get_layer("conv2").get_weights()[0], before)
    np.testing.assert_array_equal(
        ours.get_layer("conv1").get_weights()[0], theirs.get_layer("conv1").get_weights()[0]
    )


def test_another_backbone_is_refused(parent):
    root, _ = parent
    ours, _ = network((16, 32), 5, seed=2)
    with pytest.raises(CxrflowError, match=r"has 0 of the .* weights of this backbone"):
        load_parent(ours, find_parent(str(root)))


def test_a_damaged_parent_is_one_line(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    ours, _ = network((4,), 2, seed=0)
    with pytest.raises(CxrflowError, match="can't be read") as error:
        load_parent(ours, find_parent(str(tmp_path)))
    assert "\n" not in str(error.value)
