"""Every backbone: names, scaling, weights, where training cuts it, a step, export and service."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.model import network
from cxrflow.components.model.backbones import (
    BACKBONES,
    application_of,
    build_backbone,
    find_backbone,
)
from cxrflow.components.model.calibration import Calibration
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.signatures import export
from cxrflow.components.model.weights import backbone_with_weights, load_weights_file, weights_path
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import CompactFormat

pytestmark = [pytest.mark.tf, pytest.mark.slow]

# Pixels; no backbone's own. At a backbone's smallest its last map is a single cell, of which batch
# norm leaves nothing to learn from; what a size can break is the same for all.
SIZE = 96
EXPORTED = [name for name in BACKBONES if name != "NASNetLarge"]  # NASNetMobile's, ten times larger


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request) -> Iterator[tuple[str, keras.Model]]:
    """Each in turn, without weights; built once for all that is asked of it."""
    yield request.param, build_backbone(request.param, SIZE)
    keras.backend.clear_session()
    gc.collect()


@pytest.fixture(scope="module")
def built(backbone) -> network.Network:
    """A network for two classes on it, of which the last stage is trained."""
    return built_on(*backbone)


def built_on(name: str, model: keras.Model) -> network.Network:
    size = model.inputs[0].shape[1]
    plan = TrainConfig(
        backbone=name, weights="none", image_size=size, finetune_from="default", dropout=0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "backbone_with_weights", lambda *_: model)
        return network.build_network(plan, 2)


def test_names_and_weights(backbone, tmp_path, monkeypatch, save_legacy_h5):
    """As Keras builds it when it downloads ImageNet's weights, and from a folder of them."""
    name, model = backbone
    asked = []

    def download(file_name: str, origin: str, **_: object) -> str:
        asked.append(file_name)
        save_legacy_h5(model, tmp_path / file_name)
        return str(tmp_path / file_name)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", download)
    if BACKBONES[name].download:
        with warnings.catch_warnings(action="ignore"):  # of another image size than the weights'
            again = backbone_with_weights(name, SIZE, 1.0, "imagenet", "")
        assert asked == [weights_path(name, 1.0, str(tmp_path)).name]
    else:
        with pytest.raises(CxrflowError, match=r"no ImageNet weights .*weights_dir=DIR"):
            backbone_with_weights(name, SIZE, 1.0, "imagenet", "")
        save_legacy_h5(model, tmp_path / BACKBONES[name].weights_file)
        again = backbone_with_weights(name, SIZE, 1.0, "imagenet", str(tmp_path))

    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    for have, want in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(have, want)

    again.weights[-1].assign(np.full(again.weights[-1].shape, 7.0))
    load_weights_file(again, weights_path(name, 1.0, str(tmp_path)))
    np.testing.assert_array_equal(again.weights[-1], model.weights[-1])


def test_scaling_is_keras_own_and_survives_saving(backbone, tmp_path):
    name, model = backbone
    keras.Model(model.inputs[0], model.layers[1].input).save(tmp_path / "scaling.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32)
    own = application_of(BACKBONES[name]).preprocess_input(pixels.copy())
    scaling = keras.saving.load_model(tmp_path / "scaling.keras")
    np.testing.assert_allclose(scaling(pixels), own, atol=1e-5)


def test_fine_tuning_of_the_last_stage(built):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    before = [np.asarray(w) for w in built.frozen.weights]
    features = built.frozen(pixels, training=True)
    # Batch norm "train" is that of the trained part: the frozen one is in inference mode.
    np.testing.assert_array_equal(features, built.frozen(pixels, training=False))
    for old, new in zip(before, built.frozen.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    # Whole or cut, it is the same function.
    logits = np.asarray(built.full(pixels)["logits"])
    assert np.ptp(logits) > 0
    np.testing.assert_allclose(built.tail(features), logits, rtol=1e-4, atol=1e-6)

    sizes = [
        sum(int(np.prod(w.shape)) for w in part.trainable_weights)
        for part in (built.full, built.tail)
    ]
    assert sizes[0] == sizes[1]  # nothing before the cut is trained
    assert built.tuned and not set(built.tuned) - set(built.tail.layers)
    assert 0.3 < sizes[0] / built.full.count_params() < 0.85


@pytest.mark.timeout(900)
def test_a_step_of_training_and_what_is_served(backbone, built, tmp_path, monkeypatch):
    if backbone[0] not in EXPORTED:
        return
    save = tf.saved_model.save

    def save_served(module: tf.Module, folder: str, signatures: dict[str, object]) -> None:
        save(module, folder, {"serving_default": signatures["serving_default"]})

    # Each signature takes all weights once more, a thousand of them; below, all six are made.
    monkeypatch.setattr(tf.saved_model, "save", save_served)
    train_and_serve(built, SIZE, tmp_path)


def test_a_step_and_what_is_served_at_512_pixels(tmp_path):
    train_and_serve(built_on("MobileNet", build_backbone("MobileNet", 512)), 512, tmp_path)


def train_and_serve(built: network.Network, size: int, folder: Path) -> None:
    """One step moves the trained weights, and the exported model says of a PNG what Keras says."""
    model = built.classifier
    # Eagerly: to trace the gradients of a thousand layers takes longer than to run them once.
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    # Two images: batch normalisation makes nothing but zeros of one image's last map of one cell.
    gray = np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8)
    pixels = np.repeat(gray.astype(np.float32), 3, axis=-1)
    before = [np.asarray(w) for w in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(pixels, np.array([[0, 1], [1, 0]], np.float32)))
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, model.trainable_weights, strict=True)
    ]
    # An untrained MobileNet's frozen part puts out next to nothing: its kernels can't move.
    assert np.mean(moved) > 0.3

    expected = np.asarray(built.full(pixels)["logits"])
    export(
        lambda image: built.full(image, training=False),
        Calibration.identity(2),
        CompactFormat(size, "raw", 95),
        size,
        folder / "model",
    )
    with warnings.catch_warnings(action="ignore"):
        served = tf.saved_model.load(str(folder / "model")).signatures
    pngs = tf.stack([tf.io.encode_png(image) for image in gray])
    answer = served["serving_default"](image_bytes=pngs)
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "EfficientNetV2B0"])
def test_gray_is_one_channel(name):
    plan = TrainConfig(backbone=name, weights="none", image_size=SIZE, color="gray")
    gray_network = network.build_network(plan, 3)
    assert gray_network.full.inputs[0].shape == (None, SIZE, SIZE, 3)
    kernel = next(
        layer for layer in gray_network.full.layers if isinstance(layer, keras.layers.Conv2D)
    )
    assert kernel.kernel.shape[2] == 1
    # Only the mean of the channels counts.
    gray = np.random.default_rng(0).uniform(20, 200, (1, SIZE, SIZE, 1)).astype(np.float32)
    logits = [
        gray_network.full(gray + np.array(shift, np.float32))["logits"]
        for shift in ([0, 0, 0], [12, -6, -6])
    ]
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-3, atol=1e-6)


def test_unknown_backbone_is_named():
    with pytest.raises(CxrflowError, match=r"train\.backbone.*'ResNet1'.*MobileNet"):
        find_backbone("ResNet1")
