"""A model that tells bright images from dark ones, its edge bundle, and eval images."""

import json
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cxrflow.schema.model_json import CompactFormat, Member, ModelJson, write_model_json

SIZE = 32
CLASSES = ["Bright", "Striped", "Absent"]
POINTS = {"youden": {"threshold": 0.5}, "sensitivity": {"threshold": 0.3}, "specificity": None}
THRESHOLDS = {"Bright": POINTS, "Striped": POINTS, "Absent": None}
COMPACT = {"image_size": SIZE, "encoding": "raw", "jpeg_quality": 95}
FILES = {
    "litert_fp32": "model_fp32.tflite",
    "litert_fp16": "model_fp16.tflite",
    "litert_dynamic": "model_dynamic.tflite",
    "litert_int8": "model_int8.tflite",
    "frozen_graph": "frozen_graph.pb",
    "onnx": "model.onnx.xz",
}


@dataclass(frozen=True)
class Made:
    """What the evaluation gets."""

    saved_model: Path
    bundle: Path  # candidate: all variants, no verdicts
    examples: Path  # with Split-eval
    pixels: Path  # .npy of the eval images, uint8 [N, S, S]
    labels: np.ndarray  # [N, 3]
    probabilities: np.ndarray  # [N, 3], of the source


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    root = tmp_path_factory.mktemp("edge")
    images, labels = make_images(60)
    np.save(root / "pixels.npy", images)
    write_examples(root / "examples" / "Split-eval" / "data", images, labels)
    concrete, answers = write_model(root / "model" / "Format-Serving", images)
    write_bundle(root / "bundle", concrete, images)
    return Made(
        root / "model" / "Format-Serving",
        root / "bundle",
        root / "examples",
        root / "pixels.npy",
        labels,
        answers,
    )


def make_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two images a patient, uint8 [count, S, S] and labels [count, 3]; no image is Absent."""
    random = np.random.default_rng(0)
    labels = np.zeros((count, 3), np.float32)
    labels[:, :2] = random.integers(0, 2, (count, 2))
    images = random.normal(100 + 50 * labels[:, 0, None, None], 20, (count, SIZE, SIZE))
    images[:, ::2] += 30 * labels[:, 1, None, None] - random.normal(0, 8, (count, 1, 1))
    return np.clip(images, 0, 255).astype(np.uint8), labels


def write_examples(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    import tensorflow as tf

    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            content = tf.io.serialize_tensor(image[..., None]).numpy()
            patient = str(i // 2).encode()
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
                "patient/id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[patient])),
                "labels": tf.train.Feature(float_list=tf.train.FloatList(value=label)),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def network(classes: int = 3, bias: float = 0.0):
    """Means of all rows and of the even ones against the odd ones, made into probabilities."""
    import keras

    pixels = keras.Input((SIZE, SIZE, 3))
    stripes = keras.layers.Conv2D(2, (2, 1), (2, 1), name="stripes")
    means = keras.layers.GlobalAveragePooling2D()(stripes(pixels))
    outputs = keras.layers.Dense(classes, "sigmoid", name="probabilities")
    model = keras.Model(pixels, outputs(means))
    kernel = np.zeros((2, 1, 3, 2), np.float32)
    kernel[:, :, 0, 0] = 0.5 / 25
    kernel[:, :, 0, 1] = np.array([[1], [-1]]) / 8
    stripes.set_weights([kernel, np.array([-5, -1.9], np.float32)])
    weights = np.eye(2, classes, dtype=np.float32)
    outputs.set_weights([weights, np.array([0, 0, -3, 0][:classes], np.float32) + bias])
    return model


def concrete_function(model):
    """Signature `pixels` of a model."""
    import tensorflow as tf

    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, "image")
    function = tf.function(lambda image: {"probabilities": model(image)}, input_signature=[spec])
    return function.get_concrete_function()


def write_model(folder: Path, images: np.ndarray):
    """A SavedModel with the signature that variants are compared with; what it says, [N, 3]."""
    import tensorflow as tf

    module = tf.Module()
    module.model = network()
    concrete = concrete_function(module.model)
    tf.saved_model.save(module, str(folder), signatures={"pixels": concrete})
    info = ModelJson(
        tuple(CLASSES),
        name="tiny",
        image_size=SIZE,
        compact=CompactFormat(**COMPACT),
        members=(Member("tiny", "none", "none"),),
        synthetic=True,
    )
    write_model_json(folder, info)
    rgb = np.repeat(images[..., None], 3, axis=-1).astype(np.float32)
    return concrete, concrete(tf.constant(rgb))["probabilities"].numpy()


LITERT = ("litert_fp32", "litert_fp16", "litert_dynamic", "litert_int8")


def write_bundle(folder: Path, concrete, images: np.ndarray, litert=LITERT) -> None:
    """All variants, as EdgeExport writes them, but for LiteRT only these."""
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    folder.mkdir(parents=True)

    def calibrate():
        for gray in images[:20]:
            yield [np.repeat(gray[None, ..., None], 3, axis=-1).astype(np.float32)]

    for key in litert:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        if key != "litert_fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if key == "litert_fp16":
            converter.target_spec.supported_types = [tf.float16]
        if key == "litert_int8":
            converter.representative_dataset = calibrate
            converter.inference_input_type = tf.uint8
        (folder / FILES[key]).write_bytes(converter.convert())
    frozen = convert_variables_to_constants_v2(concrete)
    graph = frozen.graph.as_graph_def()
    (folder / FILES["frozen_graph"]).write_bytes(graph.SerializeToString())
    ends = {"input": frozen.inputs[0].name, "output": frozen.outputs[0].name}
    onnx, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=[ends["input"]], output_names=[ends["output"]], opset=13
    )
    (folder / FILES["onnx"]).write_bytes(lzma.compress(onnx.SerializeToString()))
    (folder / "golden").mkdir()
    (folder / "golden" / "0.png").write_bytes(b"a golden image")
    (folder / "infer.py").write_text("print('the device script')\n")
    (folder / "tx2-up.sh").write_text("#!/bin/sh\n")
    (folder / "tx2-up.sh").chmod(0o755)
    runtimes = {"frozen_graph": "tensorflow", "onnx": "onnx"}
    variants = {
        key: {
            "file": file,
            "runtime": runtimes.get(key, "litert"),
            "input_dtype": "uint8" if key == "litert_int8" else "float32",
        }
        for key, file in FILES.items()
    }
    info = {"name": "tiny", "classes": CLASSES, "image_size": SIZE, "compact": COMPACT}
    info |= {"synthetic": True, "frozen_graph": ends, "variants": variants}
    info["thresholds"] = THRESHOLDS
    (folder / "model.json").write_text(json.dumps(info))


@pytest.fixture(scope="session")
def other_bundle():
    """Float variants of a network with this bias."""

    def make(folder: Path, bias: float) -> Path:
        model = network(bias=bias)  # held: its variables die with it
        write_bundle(folder, concrete_function(model), np.zeros(0), ["litert_fp32"])
        return folder

    return make


@pytest.fixture(scope="session")
def other_litert():
    """A LiteRT file of a network that differs from the bundle's source."""

    def make(**changes: float) -> bytes:
        import tensorflow as tf

        model = network(**changes)  # held: its variables die with it
        concrete = concrete_function(model)
        return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()

    return make
