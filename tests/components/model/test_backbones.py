"""Every backbone: names, scaling, weights, where training cuts it, a step, export and service."""

import gc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
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
MANY = 300  # weights: above it a signature is asked as it would be written, a minute's work
# NASNetMobile's layers, ten times larger: with the other large networks, by `make proofs`.
LARGE = "NASNetLarge"


@dataclass(frozen=True)
class Backbone:
    """One as it was built, without weights."""

    name: str
    model: keras.Model
    downloaded: list[str]  # names of the files that Keras asked for
    loaded: list[str]  # and of those that it loaded


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.proofs] if name == LARGE else [])
        for name in BACKBONES
    ],
)
def backbone(request) -> Iterator[Backbone]:
    """Each in turn, built once for all that is asked of it: as for a download, where there is one.

    What Keras would download isn't there; the initial weights stay.
    """
    name, downloaded, loaded = request.param, [], []
    keras.utils.set_random_seed(0)

    def download(file_name: str, origin: str, **_: object) -> str:
        downloaded.append(file_name)
        return f"/downloads/{file_name}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.utils.file_utils.get_file", download)
        patch.setattr(keras.Model, "load_weights", lambda _, path: loaded.append(Path(path).name))
        if BACKBONES[name].download:
            with warnings.catch_warnings(action="ignore"):  # of another size than the weights'
                model = backbone_with_weights(name, SIZE, 1.0, "imagenet", "")
        else:
            model = build_backbone(name, SIZE)
    yield Backbone(name, model, downloaded, loaded)
    keras.backend.clear_session()
    gc.collect()


@pytest.fixture(scope="module")
def built(backbone) -> network.Network:
    """A network for two classes on it, of which the last stage is trained."""
    return built_on(backbone.name, backbone.model)


def built_on(name: str, model: keras.Model) -> network.Network:
    size = model.inputs[0].shape[1]
    plan = TrainConfig(
        backbone=name, weights="none", image_size=size, finetune_from="default", dropout=0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "backbone_with_weights", lambda *_: model)
        return network.build_network(plan, 2)


@dataclass(frozen=True)
class Pixels:
    """Two images: batch normalisation makes nothing but zeros of one image's map of one cell."""

    gray: np.ndarray  # uint8 [2, S, S, 1]

    @classmethod
    def random(cls, size: int) -> "Pixels":
        return cls(np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8))

    @property
    def rgb(self) -> np.ndarray:
        return np.repeat(self.gray.astype(np.float32), 3, axis=-1)


def test_names_and_weights(backbone, tmp_path, save_legacy_h5):
    """Keras downloads the file that a folder is asked for, and such a file's weights arrive."""
    name, model = backbone.name, backbone.model
    file = tmp_path / BACKBONES[name].weights_file.format(alpha=BACKBONES[name].alphas.get(1.0))
    save_legacy_h5(model, file)
    assert weights_path(name, 1.0, str(tmp_path)) == file
    if BACKBONES[name].download:
        assert backbone.downloaded == backbone.loaded == [file.name]
    else:
        assert not backbone.loaded
        with pytest.raises(CxrflowError, match=r"no ImageNet weights .*weights_dir=DIR"):
            backbone_with_weights(name, SIZE, 1.0, "imagenet", "")

    before = model.get_weights()
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 7.0))
    load_weights_file(model, file)
    for have, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(have, want)


def test_names_are_the_same_with_and_without_a_download(monkeypatch):
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda name, *_, **__: name)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    with warnings.catch_warnings(action="ignore"):  # of another image size than the weights'
        one, other = (build_backbone("MobileNet", SIZE, weights=w) for w in (None, "imagenet"))
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]


def test_scaling_is_keras_own_and_survives_saving(backbone, tmp_path):
    name, model = backbone.name, backbone.model
    keras.Model(model.inputs[0], model.layers[1].input).save(tmp_path / "scaling.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32)
    own = application_of(BACKBONES[name]).preprocess_input(pixels.copy())
    scaling = keras.saving.load_model(tmp_path / "scaling.keras")
    np.testing.assert_allclose(scaling(pixels), own, atol=1e-5)


@pytest.mark.timeout(900)
def test_fine_tuning_of_the_last_stage_a_step_and_what_is_served(
    backbone, built, tmp_path, monkeypatch
):
    pixels = Pixels.random(SIZE)
    before = [np.asarray(w) for w in built.frozen.weights]
    features = built.frozen(pixels.rgb, training=True)
    for old, new in zip(before, built.frozen.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    # Whole or cut, it is the same function. And batch norm "train" is that of the trained part: the
    # frozen one is in inference mode, else it would have given other features than the whole.
    logits = np.asarray(built.full(pixels.rgb)["logits"])
    assert np.ptp(logits) > 0
    np.testing.assert_allclose(built.tail(features), logits, rtol=1e-4, atol=1e-6)

    sizes = [
        sum(int(np.prod(w.shape)) for w in part.trainable_weights)
        for part in (built.full, built.tail)
    ]
    assert sizes[0] == sizes[1]  # nothing before the cut is trained
    assert built.tuned and not set(built.tuned) - set(built.tail.layers)
    assert 0.3 < sizes[0] / built.full.count_params() < 0.85

    take_a_step(built.tail, features)
    trained = np.asarray(built.tail(features))
    assert not np.allclose(trained, logits, rtol=1e-3, atol=1e-5)
    if backbone.name == LARGE:
        return
    served = {}
    save = tf.saved_model.save

    def save_served(module: tf.Module, folder: str, signatures: dict[str, object]) -> None:
        # Each signature takes all weights once more; below, all six are written.
        served["serving_default"] = signatures["serving_default"]
        if len(built.full.weights) < MANY:
            save(module, folder, dict(served))
            served.clear()

    monkeypatch.setattr(tf.saved_model, "save", save_served)
    assert_served(built, pixels, trained, tmp_path, served)


def test_a_step_and_what_is_served_at_512_pixels(tmp_path):
    keras.utils.set_random_seed(0)
    built, pixels = built_on("MobileNet", build_backbone("MobileNet", 512)), Pixels.random(512)
    take_a_step(built.classifier, pixels.rgb)
    assert_served(built, pixels, np.asarray(built.full(pixels.rgb)["logits"]), tmp_path, {})


def take_a_step(model: keras.Model, inputs: object) -> None:
    """One step moves the trained weights."""
    # Eagerly: to trace the gradients of a thousand layers takes longer than to run them once.
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    before = [np.asarray(w) for w in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(inputs, np.array([[0, 1], [1, 0]], np.float32)))
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, model.trainable_weights, strict=True)
    ]
    # An untrained MobileNet's frozen part puts out next to nothing: its kernels can't move.
    assert np.mean(moved) > 0.3


def assert_served(
    built: network.Network, pixels: Pixels, logits: np.ndarray, folder: Path, served: dict
) -> None:
    """The exported model says of PNGs what Keras says of their pixels.

    served: signatures by name; what isn't there once they are exported is read from the folder.
    """
    size = pixels.gray.shape[1]
    export(
        lambda image: built.full(image, training=False),
        Calibration.identity(2),
        CompactFormat(size, "raw", 95),
        size,
        folder / "model",
    )
    if not served:
        with warnings.catch_warnings(action="ignore"):
            served = tf.saved_model.load(str(folder / "model")).signatures
    pngs = tf.stack([tf.io.encode_png(image) for image in pixels.gray])
    answer = served["serving_default"](image_bytes=pngs)
    np.testing.assert_allclose(answer["logits"], logits, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "EfficientNetV2B0"])
def test_gray_is_one_channel(name):
    plan = TrainConfig(backbone=name, weights="none", image_size=SIZE, color="gray")
    keras.utils.set_random_seed(0)  # a logit near 0 has a larger relative error
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
