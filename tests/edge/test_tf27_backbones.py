"""Every backbone's frozen graph in a real TensorFlow 2.7.4, by the device's own scripts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logit

from tests.edge import tf27
from tests.edge.bundles import model_info, variant, write_bundle

pytestmark = [pytest.mark.tf, pytest.mark.machines, pytest.mark.timeout(900)]

SIDE = 80  # pixels; Inception needs 75
IMAGES, GOLDEN = 16, 3  # for the moments, and of them in the bundle
CLASSES = ("A", "B")
FAMILIES = (
    *("MobileNet", "MobileNetV2", "InceptionV3", "InceptionResNetV2", "VGG19", "NASNetMobile"),
    *("ResNet50", "DenseNet121", "EfficientNetV2B0"),
)
CONVERTED = ("MobileNet", "MobileNetV2", "VGG19")  # of TF-TRT's converter, which is slow
TOLERANCE = 1e-3  # of a probability, as the edge evaluation asks of float variants


class Network:
    """A backbone with random weights, in place of `edge_export.source.Source`."""

    def __init__(self, name: str, pixels: np.ndarray):
        """Its probabilities of `pixels`, float32 [N, S, S, 3], are spread around 0.5."""
        import keras
        import tensorflow as tf

        from cxrflow.components.edge.export.fixed import to_fixed
        from cxrflow.components.model.network import build_network
        from cxrflow.components.model.recipe import TrainConfig

        keras.utils.set_random_seed(0)
        recipe = TrainConfig(backbone=name, weights="none", image_size=SIDE, dropout=0)
        model = build_network(recipe, len(CLASSES)).full
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0  # takes this batch's moments, without which signals die out
        model(pixels, training=True)
        for weight in model.weights:
            if stored := to_fixed(np.asarray(weight), axis=-1):  # as in the bundle
                weight.assign(stored.values)
        mean, scale = tf.Variable([0.0, 0.0]), tf.Variable([1.0, 1.0])

        @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, "image")])
        def probabilities(image: tf.Tensor) -> tf.Tensor:
            logits = model(image, training=False)["logits"]
            return tf.sigmoid((logits - mean) / scale, name="probabilities")

        self.owned = model, mean, scale  # variables die with their last owner
        self.probabilities = probabilities.get_concrete_function()
        logits = logit(self.probabilities(tf.constant(pixels)).numpy())
        mean.assign(logits.mean(axis=0))
        scale.assign(logits.std(axis=0))

    def function(self, batch: None) -> Any:
        """As Source's."""
        return self.probabilities


@pytest.fixture(scope="module")
def proofs(tmp_path_factory) -> tuple[dict[str, dict], list[dict]]:
    """What tf27_driver.py says of each family, and of a build off the device."""
    try:
        tf27.python()
    except tf27.Unavailable as reason:
        pytest.skip(f"no other machine: {reason}")
    import keras
    import tensorflow as tf

    from cxrflow.components.edge.export.freeze import freeze, with_int16_weights

    gray = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE), dtype=np.uint8)
    gray //= np.arange(1, IMAGES + 1, dtype=np.uint8)[:, None, None]  # not all alike
    pixels = np.repeat(gray[..., None], 3, axis=-1).astype(np.float32)
    folders = []
    for name in FAMILIES:
        network = Network(name, pixels)
        graph = with_int16_weights(freeze(network))
        folders.append(
            write_bundle(
                tmp_path_factory.mktemp("backbones") / name,
                model_info(
                    {"frozen_graph": variant("frozen_graph.pb", "tensorflow")},
                    classes=CLASSES,
                    side=SIDE,
                )
                | {"name": name},
                {"frozen_graph.pb": graph.SerializeToString()},
                [b""] * GOLDEN,
                gray[:GOLDEN],
                network.probabilities(tf.constant(pixels[:GOLDEN])).numpy(),
            )
        )
        keras.backend.clear_session()
    scripts = {"PYTHONPATH": str(folders[0])}
    driver = Path(__file__).with_name("tf27_driver.py")
    done = tf27.run([driver, ",".join(CONVERTED), *folders], timeout=600, **scripts)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {one["name"]: one for one in lines if "name" in one}, lines


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_as_its_source(name, proofs):
    proof = proofs[0][name]
    print(proof)
    assert proof["difference"] < TOLERANCE
    if name in CONVERTED:  # TF-TRT takes all of it
        assert proof["engines"] >= 1
        assert proof["outside"] == []


def test_a_build_off_the_device(proofs):
    built, described = proofs[1][-2:]
    assert built == {"built for": [3, SIDE, SIDE, 3]}
    engine = described["engine"]
    assert (described["code"], engine["batch"], engine["precision"]) == (0, 3, "FP16")
    assert engine["tensorflow"] == "2.7.4"
    assert engine["golden_differences"]["tensorrt"]["largest"] < TOLERANCE
