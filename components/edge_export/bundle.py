"""The edge bundle of a model: every variant, golden answers, the device's scripts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.edge_export import litert
from components.edge_export.freeze import freeze, with_int16_weights
from components.edge_export.golden import write_golden
from components.edge_export.quantize import quantize
from components.edge_export.read import calibration_pixels, golden_originals, golden_pixels
from components.edge_export.settings import EdgeConfig
from components.edge_export.source import INPUT, OUTPUT, Source
from components.edge_export.to_onnx import pack, to_onnx
from components.progress import report
from components.train.signatures import CompactFormat
from edge import device_files
from serving.images import ImageLimits

MODEL_JSON = "model.json"
_SPARSE = 4  # of the calibration images, what is enough for means
VARIANTS = {
    "litert_fp32": {"file": "model_fp32.tflite", "runtime": "litert", "input_dtype": "float32"},
    "litert_fp16": {"file": "model_fp16.tflite", "runtime": "litert", "input_dtype": "float32"},
    "litert_dynamic": {
        "file": "model_dynamic.tflite",
        "runtime": "litert",
        "input_dtype": "float32",
    },
    "litert_int8": {"file": "model_int8.tflite", "runtime": "litert", "input_dtype": "uint8"},
    "frozen_graph": {"file": "frozen_graph.pb", "runtime": "tensorflow", "input_dtype": "float32"},
    "onnx": {"file": "model.onnx.xz", "runtime": "onnx", "input_dtype": "float32"},
}


def export_bundle(
    saved_model: Path, train: Path, eval_originals: Path, config: EdgeConfig, bundle: Path
) -> None:
    """Writes all of a bundle but its manifest and the verdict on its variants.

    Args:
        saved_model: of a Trainer or the ensemble; its signature `pixels` is what leaves.
        train: folder of transformed training examples, for int8's ranges.
        eval_originals: folder of raw examples of eval, for the golden images.
        config: how many images, and how weights are stored.
        bundle: an empty folder, made if missing.

    Raises:
        CxrflowError: a split is empty, or the model can't be converted.
    """
    source = Source(saved_model)
    compact = CompactFormat(**source.info["compact"])
    bundle.mkdir(parents=True, exist_ok=True)
    originals = golden_originals(eval_originals, source.classes, config.golden_images)
    pixels = golden_pixels(list(originals.values()), compact, source.image_size)
    expected = source.probabilities(pixels)
    write_golden(originals, pixels, expected, bundle)

    images = calibration_pixels(
        train, source.classes, compact, source.image_size, config.calibration_images
    )
    small = config.graph_weights == "int16"
    graph = freeze(source)
    fp32 = litert.convert(source)
    makers: dict[str, Callable[[], bytes]] = {
        "litert_fp32": lambda: fp32,
        "litert_fp16": lambda: litert.with_half_weights(fp32, images[::_SPARSE]),
        "litert_dynamic": lambda: litert.convert(source, dynamic=True),
        "litert_int8": lambda: quantize(fp32, images),
        "frozen_graph": lambda: _serialized(with_int16_weights(graph) if small else graph),
        "onnx": lambda: pack(to_onnx(graph, small)),
    }
    for done, (key, make) in enumerate(makers.items()):
        report(done, len(makers), "variants")
        content = make()
        if VARIANTS[key]["runtime"] == "litert":
            litert.check(content, key, pixels, expected)
        (bundle / VARIANTS[key]["file"]).write_bytes(content)
    report(len(makers), len(makers), "variants")
    for path in device_files():
        shutil.copy(path, bundle / path.name)
    info = describe(source.info)
    (bundle / MODEL_JSON).write_text(json.dumps(info, indent=2, allow_nan=False) + "\n")


def describe(info: dict[str, Any]) -> dict[str, Any]:
    """model.json of a bundle, from that of its source."""
    compact = info["compact"]
    return info | {
        "frozen_graph": {"input": f"{INPUT}:0", "output": f"{OUTPUT}:0"},
        "preprocessing": {
            "compact_size": compact["image_size"],
            "encoding": compact["encoding"],
            "jpeg_quality": compact["jpeg_quality"],
            "image_size": info["image_size"],
            **asdict(ImageLimits()),
        },
        "variants": VARIANTS,
    }


def _serialized(graph: Any) -> bytes:
    return graph.SerializeToString(deterministic=True)
