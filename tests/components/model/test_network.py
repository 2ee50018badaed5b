"""Where the head looks, and where training cuts the network."""

import numpy as np
import pytest

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf

SMALL = {"alpha": 0.25, "weights": "none", "image_size": 64}


def build(**changes):
    from cxrflow.components.model.network import build_network

    return build_network(TrainConfig(**SMALL, **changes), classes=3)


def test_head_sees_means_of_earlier_maps() -> None:
    import keras

    network = build(finetune_from="head", feature_layers=("conv_pw_5_relu",))
    # MobileNet .25 on 64 pixels: last map 2x2x256, conv_pw_5's 8x8x64, 4x4 places a cell.
    assert network.frozen.output.shape == (None, 2, 2, 256 + 64)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    earlier = keras.Model(network.full.inputs[0], network.full.get_layer("conv_pw_5_relu").output)(
        pixels
    )
    expected = np.asarray(earlier)[0, :4, 4:8].mean(axis=(0, 1))
    np.testing.assert_allclose(network.frozen(pixels)[0, 0, 1, 256:], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_layers": ("conv_pw_99",)}, "train.feature_layers: .* no layer 'conv_pw_99'"),
        ({"feature_layers": ("default",)}, "no layer 'default'.* are [^(]*$"),
        ({"feature_layers": ("conv_pad_2",)}, "conv_pad_2, .33, 33, 16., is no map"),
        (
            {"finetune_from": "conv_pw_99"},
            'no layer \'conv_pw_99\'.* conv_pw_9, .*"default", "head" and "" are allowed too',
        ),
        ({"finetune_from": "image"}, "no layer 'image'"),
    ],
)
def test_layers_that_cannot_be_used(changes, message) -> None:
    with pytest.raises(CxrflowError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("name", "changes", "trained"),
    [
        # Inside a branch: its rest is trained, and what lies behind; the other branch is not.
        ("side", {}, {"side"}),
        ("stem", {}, {"stem", "side"}),
        ("join", {}, set()),  # what follows is the head
        # The head sees an earlier map beside what is trained.
        ("side", {"feature_layers": ("stem",)}, {"side"}),
    ],
)
def test_cut_anywhere_is_the_same_function(monkeypatch, name, changes, trained) -> None:
    import keras

    from cxrflow.components.model import network

    pixels = keras.Input((8, 8, 3), name="image")
    stem = keras.layers.Conv2D(4, 1, name="stem")(pixels)
    side = keras.layers.Conv2D(4, 1, name="side")(keras.layers.ReLU(name="relu")(stem))
    join = keras.layers.Add(name="join")([stem, side])
    monkeypatch.setattr(
        network, "backbone_with_weights", lambda *_: keras.Model(pixels, join, name="Residual")
    )
    built = build(finetune_from=name, **changes)
    images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
    features = built.frozen(images)
    np.testing.assert_allclose(built.tail(features), built.full(images)["logits"], atol=1e-6)
    assert {layer.name for layer in built.tuned if layer.weights} == trained
    assert {
        layer.name
        for layer in built.full.layers
        if layer.name in ("stem", "side") and layer.trainable
    } == trained
    dropouts = [x for x in built.tail.layers if isinstance(x, keras.layers.Dropout)]
    assert len(dropouts) == 2  # the head's, within reach of the callback that seeds them


def test_images_without_a_finding_weigh_as_the_recipe_says(tmp_path) -> None:
    from cxrflow.components.train import store
    from cxrflow.components.train.inputs import training_batches

    labels = np.array([[0, 0], [1, 0], [1, 1], [0, 0]], np.float32)
    images = np.arange(4, dtype=np.uint8)[:, None]
    stored = store.write(tmp_path / "images", [(images, labels)])
    recipe = TrainConfig(batch_size=4, epochs=1, normal_weight=0.25)
    ((x, y, weights),) = training_batches(stored, recipe, 0, lambda x, seed: x)
    order = np.asarray(x)[:, 0]
    np.testing.assert_array_equal(y, labels[order])
    np.testing.assert_array_equal(weights, np.array([0.25, 1, 1, 0.25], np.float32)[order])
