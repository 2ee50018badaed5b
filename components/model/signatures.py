"""The SavedModel that leaves the Trainer or the ensemble, and its six signatures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from cxrflow.components.images.decoding import compact_batch
from cxrflow.components.images.pixels import model_images, to_pixels
from cxrflow.components.model.calibration import Calibration
from cxrflow.components.model.out_of_distribution import OUTPUT, scorer
from cxrflow.schema.features import IMAGE, T_IMAGE
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.portable.out_of_distribution import Detector


def export(
    network: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    calibration: Calibration,
    compact: CompactFormat,
    image_size: int,
    folder: Path,
    detector: Detector | None = None,
) -> None:
    """Writes a SavedModel.

    Args:
        network: pixels float32 [N, S, S, 3] -> `logits` [N, C], `attention` [N, h, w(, C)], and
            what else there is to say about each image.
        calibration: makes logits into probabilities.
        compact: what Transform makes of an original.
        image_size: S.
        folder: where the SavedModel goes.
        detector: of what is no chest X-ray.

    Signatures, all with any N and outputs float32 (serving_default, examples and
    transformed_examples give `probabilities` and `logits`, [N, C], and what else the network says;
    TFMA reads the last two, and asks for nothing else):
    - serving_default: `image_bytes`, string [N], PNG or JPEG of any size; with a detector, also
      `out_of_distribution` [N], how unlike the training X-rays the image is
    - examples: `examples`, string [N], serialized raw tf.Examples
    - transformed_examples: `examples`, string [N], serialized transformed tf.Examples
    - attention: `image_bytes` -> `attention` [N, h, w(, C)] in (0, 1), `probabilities`, and with a
      detector `out_of_distribution`
    - pixels: `image`, float32 [N, S, S, 3], 0-255 -> `probabilities`
    - network: `image` -> everything; what an ensemble is made of

    Originals become compact images first, as in Transform, JPEG loss included, so that a model
    sees the same pixels in training and in service: without the JPEG, probabilities differed by up
    to 0.03 on NIH images.
    """
    image = tf.TensorSpec([None, image_size, image_size, 3], tf.float32, "image")

    # Traced once for all signatures, as are the two below: each of these is traced several times.
    @tf.function(input_signature=[image], autograph=False)
    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(pixels)
        return outputs | {"probabilities": tf.sigmoid(calibration.log_odds(outputs["logits"]))}

    encoded = tf.TensorSpec([None], tf.string)

    @tf.function(input_signature=[encoded], autograph=False)
    def pixels_of(compact_images: tf.Tensor) -> tf.Tensor:
        return to_pixels(
            model_images(compact_images, compact.encoding, compact.image_size, image_size)
        )

    @tf.function(input_signature=[encoded], autograph=False)
    def compact_of(image_bytes: tf.Tensor) -> tf.Tensor:
        return compact_batch(
            image_bytes, compact.image_size, compact.encoding, compact.jpeg_quality
        )

    def pixels_of_originals(image_bytes: tf.Tensor) -> tf.Tensor:
        return pixels_of(compact_of(image_bytes))

    def scores(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = predict(pixels)
        return {name: value for name, value in outputs.items() if name != "attention"}

    def unlike_training(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {} if detector is None else {OUTPUT: scorer(detector)(pixels)}

    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = pixels_of_originals(image_bytes)
        return scores(pixels) | unlike_training(pixels)

    def examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return scores(pixels_of_originals(_image_feature(examples, IMAGE)))

    def transformed_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return scores(pixels_of(_image_feature(examples, T_IMAGE)))

    def attention(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = pixels_of_originals(image_bytes)
        return _pick(predict(pixels), "attention", "probabilities") | unlike_training(pixels)

    def pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return _pick(predict(image), "probabilities")

    def network_outputs(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict(image)

    strings = {name: tf.TensorSpec([None], tf.string, name) for name in ("image_bytes", "examples")}
    signatures = {
        name: tf.function(endpoint, input_signature=[spec], autograph=False).get_concrete_function()
        for name, endpoint, spec in (
            ("serving_default", serving_default, strings["image_bytes"]),
            ("examples", examples, strings["examples"]),
            ("transformed_examples", transformed_examples, strings["examples"]),
            ("attention", attention, strings["image_bytes"]),
            ("pixels", pixels, image),
            ("network", network_outputs, image),
        )
    }
    # Keras's ExportArchive writes the same, but traces each signature once more and walks through
    # all layers to find what it has found: more than half of the time of a large network.
    saved = tf.Module()
    saved.held = list({id(v): v for s in signatures.values() for v in s.variables}.values())
    tf.saved_model.save(saved, str(folder), signatures)


def _image_feature(serialized: tf.Tensor, name: str) -> tf.Tensor:
    """The bytes feature `name` of serialized tf.Examples, string [N]."""
    spec = {name: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_example(serialized, spec)[name]


def _pick(outputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: outputs[name] for name in names}
