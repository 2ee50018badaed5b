import keras
import numpy as np
import pytest

from components.train.heads import HEADS, find_head
from components.train.network import build_network
from components.train.recipe import TrainConfig
from schema.errors import CxrflowError

pytestmark = pytest.mark.tf


def head_model(name: str, shape: tuple[int, int, int], classes: int) -> keras.Model:
    features = keras.Input(shape)
    return keras.Model(features, list(HEADS[name](features, classes, 0.5)))


# Parameters by the study's table (original-study 2.1, 2.2), 13 classes.
@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("attention", (7, 7, 1024), 273_870),
        ("attention", (8, 8, 1536), 407_502),
        ("attention", (7, 7, 512), 140_238),
        ("simple", (4, 4, 1024), 524_800 + 6_669),
    ],
)
def test_parameters_are_those_of_the_study(name, shape, parameters):
    assert head_model(name, shape, 13).count_params() == parameters


def test_parameters_of_the_whole_network():
    full = build_network(TrainConfig(weights="none", image_size=224), 13).full
    assert full.count_params() == 3_502_734


def test_trainable_parameters_of_the_attention_head():
    model = head_model("attention", (7, 7, 1024), 13)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 270_798


@pytest.mark.parametrize(
    ("name", "map_shape"), [("attention", (2, 5, 4)), ("simple", (2, 5, 4, 3))]
)
def test_map_is_a_share(name, map_shape):
    features = np.random.default_rng(0).normal(size=(2, 5, 4, 8)).astype(np.float32)
    logits, attention = head_model(name, (5, 4, 8), 3)(features)
    assert logits.shape == (2, 3)
    assert attention.shape == map_shape
    assert 0 < np.min(attention) < np.max(attention) < 1


def test_no_attention_anywhere_gives_finite_logits():
    model = head_model("attention", (3, 3, 8), 2)
    layer = model.get_layer("head_attention")
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    layer.bias.assign([-1e4])  # a sigmoid of exactly 0
    logits, attention = model(np.ones((1, 3, 3, 8), np.float32))
    assert np.all(np.asarray(attention) == 0)
    assert np.isfinite(logits).all()


def test_attention_weights_the_mean():
    """Where the map is 1 at one place and 0 elsewhere, the head sees that place alone."""
    model = head_model("attention", (1, 2, 2), 1)
    pooled = keras.Model(model.inputs, model.get_layer("head_dropout0").output)
    # The first channel alone goes through the 1x1 convolutions; the last one is a step at .9.
    for name, gain in (("conv0", 1), ("conv1", 1), ("conv2", 1), ("attention", 1000)):
        kernel = model.get_layer(f"head_{name}").kernel
        kernel.assign(np.where(np.indices(kernel.shape).sum(axis=0) == 0, gain, 0))
    model.get_layer("head_attention").bias.assign([-900])
    # -1 becomes elu(elu(elu(-1))) = -.37; smoothing makes (-.37, 2) to (.81, 2): off and on.
    features = np.array([[[[-1, 5], [2, 7]]]], np.float32)
    np.testing.assert_allclose(pooled([features]), [[2, 7]] / np.sqrt(1.001), rtol=1e-4)


def test_simple_map_is_the_head_at_every_place():
    model = head_model("simple", (1, 1, 6), 4)
    logits, attention = model(np.random.default_rng(1).normal(size=(3, 1, 1, 6)))
    np.testing.assert_allclose(
        np.asarray(attention)[:, 0, 0], 1 / (1 + np.exp(-np.asarray(logits))), rtol=1e-5
    )


def test_unknown_head_is_named():
    with pytest.raises(CxrflowError, match=r"train\.head.*'cls'.*attention"):
        find_head("cls")
