"""Every backbone builds, trains a step, exports and serves a radiograph; one at 512 pixels."""

import gc
import warnings
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.model.backbones import BACKBONES
from cxrflow.components.model.calibration import Calibration
from cxrflow.components.model.network import build_network
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.model.signatures import export
from cxrflow.schema.model_json import CompactFormat

pytestmark = [pytest.mark.tf, pytest.mark.slow, pytest.mark.timeout(900)]

# pixels; what a size can break is the same for all. At a backbone's smallest its last map is a
# single cell, of which batch norm leaves nothing to learn from.
SIZES = {name: 2 * backbone.min_size for name, backbone in BACKBONES.items()}
SIZES["MobileNet"] = 512
del SIZES["NASNetLarge"]  # NASNetMobile is the same, at a tenth of its size


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_every_backbone(name, size, tmp_path):
    plan = TrainConfig(
        backbone=name, weights="none", image_size=size, finetune_from="default", dropout=0
    )
    network = build_network(plan, 2)
    model = network.classifier
    # Eagerly: to trace the gradients of a thousand layers takes longer than to run them once.
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    gray = np.random.default_rng(0).integers(0, 256, (size, size, 1), dtype=np.uint8)
    pixels = np.repeat(gray[None].astype(np.float32), 3, axis=-1)
    before = [np.asarray(w) for w in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(pixels, np.array([[0, 1]], np.float32)))
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, model.trainable_weights, strict=True)
    ]
    # An untrained MobileNet's frozen part puts out next to nothing: its kernels can't move.
    assert np.mean(moved) > 0.3

    expected = np.asarray(network.full(pixels)["logits"])
    export(
        lambda image: network.full(image, training=False),
        Calibration.identity(2),
        network.full,
        CompactFormat(size, "raw", 95),
        size,
        tmp_path / "model",
    )
    with warnings.catch_warnings(action="ignore"):
        served = tf.saved_model.load(str(tmp_path / "model")).signatures
    png = tf.io.encode_png(gray)
    answer = served["serving_default"](image_bytes=tf.reshape(png, [1]))
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-3, atol=1e-5)
