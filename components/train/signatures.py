"""The SavedModel that leaves the Trainer and its five signatures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from components.train.inputs import model_images, to_pixels
from components.transform.images import compact_batch
from schema.features import IMAGE, T_IMAGE


@dataclass(frozen=True)
class CompactFormat:
    """The compact image that Transform writes."""

    image_size: int  # pixels, square
    encoding: str  # jpeg or raw
    jpeg_quality: int


def export(model: keras.Model, compact: CompactFormat, folder: Path) -> None:
    """Writes a SavedModel.

    model: pixels float32 [N, S, S, 3] -> {"logits": [N, C], "attention": [N, h, w(, C)]}.

    Signatures, all with any N and outputs float32 (serving_default, examples and
    transformed_examples give `probabilities` and `logits`, [N, C]):
    - serving_default: `image_bytes`, string [N], PNG or JPEG of any size
    - examples: `examples`, string [N], serialized raw tf.Examples
    - transformed_examples: `examples`, string [N], serialized transformed tf.Examples
    - attention: `image_bytes` -> `attention` [N, h, w(, C)] in (0, 1), and `probabilities`
    - pixels: `image`, float32 [N, S, S, 3], 0-255 -> `probabilities`

    Originals become compact images first, as in Transform, JPEG loss included, so that a model
    sees the same pixels in training and in service: without the JPEG, probabilities differed by up
    to 0.03 on NIH images.
    """
    size = model.inputs[0].shape[1]
    image = tf.TensorSpec([None, size, size, 3], tf.float32, "image")

    @tf.function(input_signature=[image])  # traced once for all signatures
    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(pixels, training=False)
        return outputs | {"probabilities": tf.sigmoid(outputs["logits"])}

    def pixels_of(compact_images: tf.Tensor) -> tf.Tensor:
        return to_pixels(model_images(compact_images, compact.encoding, compact.image_size, size))

    def compact_of(image_bytes: tf.Tensor) -> tf.Tensor:
        return compact_batch(
            image_bytes, compact.image_size, compact.encoding, compact.jpeg_quality
        )

    def from_compact(compact_images: tf.Tensor) -> dict[str, tf.Tensor]:
        return _pick(predict(pixels_of(compact_images)), "probabilities", "logits")

    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_compact(compact_of(image_bytes))

    def examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return serving_default(_image_feature(examples, IMAGE))

    def transformed_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_compact(_image_feature(examples, T_IMAGE))

    def attention(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return _pick(predict(pixels_of(compact_of(image_bytes))), "attention", "probabilities")

    def pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return _pick(predict(image), "probabilities")

    archive = keras.export.ExportArchive()
    archive.track(model)
    strings = {name: tf.TensorSpec([None], tf.string, name) for name in ("image_bytes", "examples")}
    for endpoint, spec in (
        (serving_default, strings["image_bytes"]),
        (examples, strings["examples"]),
        (transformed_examples, strings["examples"]),
        (attention, strings["image_bytes"]),
        (pixels, image),
    ):
        archive.add_endpoint(endpoint.__name__, endpoint, input_signature=[spec])
    archive.write_out(str(folder), verbose=False)


def _image_feature(serialized: tf.Tensor, name: str) -> tf.Tensor:
    """The bytes feature `name` of serialized tf.Examples, string [N]."""
    spec = {name: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_example(serialized, spec)[name]


def _pick(outputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: outputs[name] for name in names}
