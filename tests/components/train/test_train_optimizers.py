"""One update of each optimizer, by hand, and who learns how fast."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train.optimizers import make_optimizer

pytestmark = pytest.mark.tf


def chain() -> keras.Model:
    """Three linear units, each with a weight and a bias: a, b and the head."""
    x = inputs = keras.Input((1,))
    for name in ("a", "b", "head"):
        x = keras.layers.Dense(1, name=name)(x)
    return keras.Model(inputs, x)


def updated(recipe: TrainConfig, gradients: list[float], steps: int = 10) -> dict[str, float]:
    """Every variable after it started at 1 and got these gradients one after another."""
    model = chain()
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable))
    optimizer = make_optimizer(recipe, steps, model, [model.get_layer(n) for n in "ab"])
    variables = model.trainable_variables
    apply = tf.function(
        lambda g: optimizer.apply([g * tf.ones_like(v) for v in variables], variables)
    )
    for gradient in gradients:
        apply(tf.constant(gradient))
    return {v.path: float(np.squeeze(v.numpy())) for v in variables}


# The papers' formulas for a first gradient of 2; rate .1.
FIRST_STEP = {
    "sgd": 0.1 * 2,
    "adam": 0.1,  # m / sqrt(v), both corrected: the gradient's sign
    "adamw": 0.1,
    "adagrad": 0.1 * 2 / np.sqrt(0.1 + 2**2),  # Keras's accumulators start at .1
    "adadelta": 0.1 * np.sqrt(1e-7) * 2 / np.sqrt(0.05 * 2**2 + 1e-7),
}


@pytest.mark.parametrize(("name", "step"), FIRST_STEP.items())
def test_first_step_by_hand(name, step):
    decay = 0.5 if name == "adamw" else 0.0
    after = updated(TrainConfig(optimizer=name, learning_rate=0.1, weight_decay=decay), [2.0])
    assert after["head/kernel"] == pytest.approx(1 - 0.1 * decay - step, rel=1e-5)
    assert after["head/bias"] == pytest.approx(1 - step, rel=1e-5)  # never decayed


@pytest.mark.parametrize(("momentum", "moved"), [(0.0, 0.2 + 0.2), (0.9, 0.2 + 1.9 * 0.2)])
def test_momentum(momentum, moved):
    recipe = TrainConfig(optimizer="sgd", momentum=momentum, learning_rate=0.1)
    assert updated(recipe, [2.0, 2.0])["head/kernel"] == pytest.approx(1 - moved)


@pytest.mark.parametrize("name", FIRST_STEP)
def test_backbone_learns_slower_from_layer_to_layer(name):
    plain = TrainConfig(optimizer=name, learning_rate=0.1, weight_decay=0.1)
    scaled = TrainConfig(
        optimizer=name, learning_rate=0.1, weight_decay=0.1, backbone_lr_scale=0.5, layer_decay=0.4
    )
    full, after = updated(plain, [2.0]), updated(scaled, [2.0])
    for layer, share in (("head", 1.0), ("b", 0.5 * 0.4), ("a", 0.5 * 0.4**2)):
        for variable in (f"{layer}/kernel", f"{layer}/bias"):
            # Adadelta's steps are as small as rounding.
            assert 1 - after[variable] == pytest.approx(share * (1 - full[variable]), abs=3e-7)


def test_a_batch_norm_learns_as_the_convolution_before_it():
    inputs = keras.Input((4, 4, 1))
    layers = [
        keras.layers.Conv2D(1, 1, name="conv0"),
        keras.layers.BatchNormalization(name="bn0"),
        keras.layers.ReLU(name="relu0"),
        keras.layers.Conv2D(1, 1, name="conv1"),
    ]
    x = inputs
    for layer in layers:
        x = layer(x)
    recipe = TrainConfig(layer_decay=0.5)
    model = keras.Model(inputs, x)
    optimizer = make_optimizer(recipe, 1, model, layers)
    names = [v.path for v in model.trainable_variables]
    assert dict(zip(names, optimizer.scales, strict=True)) == {
        "conv0/kernel": 0.25,
        "conv0/bias": 0.25,
        "bn0/gamma": 0.25,
        "bn0/beta": 0.25,
        "conv1/kernel": 0.5,
        "conv1/bias": 0.5,
    }


def test_accumulated_gradients_are_one_update_with_their_mean():
    recipe = TrainConfig(optimizer="adam", learning_rate=0.1, accumulation_steps=3)
    once = TrainConfig(optimizer="adam", learning_rate=0.1)
    assert updated(recipe, [1.0, 2.0])["head/kernel"] == 1.0  # not yet
    after = updated(recipe, [1.0, 2.0, 6.0, 4.0, 4.0, 1.0])
    assert after == pytest.approx(updated(once, [3.0, 3.0]), rel=1e-6)


def test_schedule_rises_and_falls():
    recipe = TrainConfig(learning_rate=0.1, warmup=0.25, schedule="cosine")
    schedule = make_optimizer(recipe, 8, chain(), [])._learning_rate
    # Two steps up, six down along half a cosine.
    expected = [0, 0.05, *(0.05 * (1 + np.cos(np.pi * np.arange(7) / 6)))]
    np.testing.assert_allclose([float(schedule(i)) for i in range(9)], expected, atol=1e-8)
