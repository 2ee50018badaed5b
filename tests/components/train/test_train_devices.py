"""Precision and several devices, as far as a CPU shows them."""

import keras
import numpy as np
import pytest

from cxrflow.components.model.network import build_network
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train import devices
from cxrflow.components.train.devices import in_float32, shared_by, training_devices

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]


def recipe(**changes: object) -> TrainConfig:
    return TrainConfig(weights="none", image_size=64, **changes)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_layers_float32_scores_and_a_float32_export(precision):
    with training_devices(recipe(precision=precision)):
        network = build_network(recipe(), 3)
        assert keras.config.dtype_policy().name == precision
        model = network.classifier
        model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    assert keras.config.dtype_policy().name == "float32"
    # Keras scales the loss where it must.
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")
    assert network.full.get_layer("conv1").compute_dtype == precision.removeprefix("mixed_")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    mixed = network.full(pixels)["logits"]
    assert mixed.dtype == "float32"

    exported = in_float32(network.full)
    assert {layer.compute_dtype for layer in exported.layers} == {"float32"}
    assert exported.output_names == network.full.output_names
    scores = exported(pixels)
    assert {score.dtype.name for score in scores.values()} == {"float32"}
    np.testing.assert_allclose(scores["logits"], mixed, atol=0.05)


def test_a_float32_model_is_exported_as_it_is():
    with training_devices(recipe()):
        network = build_network(recipe(), 3)
    assert in_float32(network.full) is network.full


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([], "float32"),
        ([(7, 5)], "mixed_float16"),
        ([(9, 0), (8, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 0)], "mixed_float16"),
        ([None], "mixed_float16"),
    ],
)
def test_precision_by_gpu(monkeypatch, capabilities, precision):
    details = iter({"compute_capability": c} if c else {} for c in capabilities)
    monkeypatch.setattr(
        devices.tf.config.experimental, "get_device_details", lambda _: next(details)
    )
    assert devices._best_precision(capabilities) == precision


@pytest.mark.parametrize(
    ("changes", "devices", "used"),
    [
        ({}, 0, 0),
        ({}, 1, 1),
        ({}, 2, 2),
        ({"batch_size": 15}, 2, 1),
        ({"batch_size": 32}, 3, 2),
        ({"accumulation_steps": 2}, 0, 0),
        ({"accumulation_steps": 2}, 4, 1),
    ],
)
def test_devices_that_share_a_training(changes, devices, used):
    assert shared_by(recipe(**changes), devices) == used


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accumulation_steps": 2}, "on 1 of 2 GPUs, since train.accumulation_steps 2 goes with"),
        ({"batch_size": 15}, "on 1 of 2 GPUs, since train.batch_size 15 can't be shared by all"),
    ],
)
def test_what_several_devices_cannot_share_trains_on_one_and_says_so(changes, said, caplog):
    with training_devices(recipe(**changes), ["GPU:0", "GPU:1"]):
        assert build_network(recipe(), 3).full.distribute_strategy.num_replicas_in_sync == 1
    assert said in caplog.text
