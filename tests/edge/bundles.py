"""Small edge bundles for tests and benchmarks, laid out as the pipeline lays them out."""

import json
import lzma
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.components.edge.device import device_files
from cxrflow.schema.store.manifest import MANIFEST, Manifest, file_paths, read_file, write_manifest
from tests.support.odd_images import craft_png

VERSION = 1_795_400_000
CLASSES = ("Cardiomegaly", "Effusion", "Mass")
SIDE = 32  # of the tiny network's input; compact images have twice that
FROZEN = {"input": "image:0", "output": "probabilities:0"}


def write_bundle(
    folder: Path,
    info: Mapping[str, Any],
    files: Mapping[str, bytes],
    golden: Sequence[bytes] = (),
    pixels: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
) -> Path:
    """Writes a bundle's folder with the device's scripts and a manifest.

    Args:
        folder: made anew.
        info: model.json.
        files: by name, the variants' above all.
        golden: PNGs.
        pixels: of the golden images, uint8 [G, S, S].
        probabilities: of the golden images, float32 [G, C]; the answers of each variant too.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "golden").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for i, png in enumerate(golden):
        (folder / "golden" / f"{i}.png").write_bytes(png)
    if golden:
        names = np.array([f"{i}.png" for i in range(len(golden))])
        np.savez(
            folder / "golden" / "golden.npz",
            names=names,
            pixels=pixels,
            probabilities=probabilities,
            **{f"answers_{key}": probabilities for key in info["variants"]},
        )
    (folder / "model.json").write_text(json.dumps(info))
    for path in device_files():
        shutil.copy(path, folder / path.name)
    sign(folder)
    return folder


def sign(folder: Path) -> None:
    """Writes the manifest of what is there now."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files = tuple(read_file(folder, path) for path in file_paths(folder))
    write_manifest(folder, Manifest(VERSION, files))


def model_info(
    variants: Mapping[str, Mapping[str, Any]],
    *,
    classes: Sequence[str] = CLASSES,
    side: int = SIDE,
    compact: int = 2 * SIDE,
    synthetic: bool = True,
) -> dict[str, Any]:
    """model.json as EdgeExport writes it; the last class has no thresholds."""
    points = {
        "youden": {"threshold": 0.5},
        "sensitivity": {"threshold": 0.25},
        "specificity": None,
    }
    return {
        "bundle_format": 2,
        "name": "tiny",
        "classes": list(classes),
        "image_size": side,
        "members": [{"name": "tiny", "backbone": "Tiny", "head": "simple", "weight": 1.0}],
        "thresholds": {name: points for name in classes[:-1]} | {classes[-1]: None},
        "synthetic": synthetic,
        "frozen_graph": FROZEN,
        "preprocessing": {
            "compact_size": compact,
            "encoding": "jpeg",
            "jpeg_quality": 95,
            "image_size": side,
            "min_side": 64,
            "max_side": 4096,
            "max_bytes": 16 * 2**20,
        },
        "variants": dict(variants),
    }


def tiny_bundle(folder: Path, golden: Sequence[bytes]) -> Path:
    """A bundle with a linear network in three forms; needs TensorFlow."""
    import tensorflow as tf

    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.components.images.pixels import model_images, to_pixels

    weights = np.random.default_rng(0).normal(0, 0.02, (SIDE * SIDE * 3, len(CLASSES)))

    def network(image: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(image / 255.0 - 0.5, [-1, SIDE * SIDE * 3])
        logits = tf.matmul(flat, tf.constant(weights, tf.float32))
        return tf.identity(tf.sigmoid(logits), name="probabilities")

    one = tf.function(network).get_concrete_function(
        tf.TensorSpec([1, SIDE, SIDE, 3], tf.float32, "image")
    )
    with tf.Graph().as_default() as graph:
        network(tf.compat.v1.placeholder(tf.float32, [None, SIDE, SIDE, 3], "image"))
    compact = compact_batch(tf.constant(list(golden)), 2 * SIDE, "jpeg", 95)
    pixels = model_images(compact, "jpeg", 2 * SIDE, SIDE)
    litert = tf.lite.TFLiteConverter.from_concrete_functions([one]).convert()
    variants = {
        "litert_fp32": variant("model_fp32.tflite", "litert"),
        "frozen_graph": variant("frozen_graph.pb", "tensorflow"),
        "onnx": variant("model.onnx.xz", "onnx"),
    }
    files = {
        "model_fp32.tflite": litert,
        "frozen_graph.pb": graph.as_graph_def().SerializeToString(),
        "model.onnx.xz": lzma.compress(onnx_network(), preset=0),
    }
    return write_bundle(
        folder,
        model_info(variants),
        files,
        golden,
        pixels.numpy()[..., 0],
        network(to_pixels(pixels)).numpy(),
    )


def onnx_network(gain: float = 1.0) -> bytes:
    """A linear network with a sigmoid; its logits are `gain` times larger."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.02, (SIDE * SIDE * 3, len(CLASSES)))
    values = {
        "scale": np.float32(1 / 255),
        "half": np.float32(0.5),
        "weights": weights.astype(np.float32),
        "gain": np.float32(gain),
    }
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "half"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node("Mul", ["sums", "gain"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["sigmoids"]),
        helper.make_node("Identity", ["sigmoids"], ["probabilities"]),
    ]
    source = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])
    target = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(CLASSES)])
    constants = [numpy_helper.from_array(np.asarray(value), key) for key, value in values.items()]
    graph = helper.make_graph(nodes, "tiny", [source], [target], constants)
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=7)
    return model.SerializeToString()


def onnx_bundle(folder: Path, gain: float = 1.0) -> Path:
    """A bundle with an ONNX network alone; needs no TensorFlow."""
    variants = {"onnx": variant("model.onnx.xz", "onnx")}
    files = {"model.onnx.xz": lzma.compress(onnx_network(gain), preset=0)}
    return write_bundle(folder, model_info(variants), files)


def variant(file: str, runtime: str, **more: Any) -> dict[str, Any]:
    """One of model.json's variants."""
    return {"file": file, "runtime": runtime, "input_dtype": "float32", **more}


def gray_png(pixels: np.ndarray) -> bytes:
    """An 8-bit gray PNG of uint8 [height, width]."""
    height, width = pixels.shape
    return craft_png(width, height, zlib.compress(np.pad(pixels, ((0, 0), (1, 0))).tobytes(), 1))
