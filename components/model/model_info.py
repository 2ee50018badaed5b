"""assets.extra of a SavedModel: model.json, and warm-up requests for TF Serving."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.schema.errors import CxrflowError

_MODEL_JSON = Path("assets.extra", "model.json")
_WARMUP_SIDES = (1024, 512)  # pixels; NIH originals, and half


def model_info(
    *,
    name: str,
    classes: Sequence[str],
    image_size: int,
    compact: dict[str, Any],
    members: Sequence[dict[str, Any]],
    calibration: dict[str, Any],
    thresholds: dict[str, Any],
    data_version: str,
    code_version: str,
    synthetic: bool,
    ensemble: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What model.json holds.

    Args:
        name: the model's, within its pipeline.
        classes: in the order of the outputs.
        image_size: what the network sees, pixels.
        compact: form of the transformed images that it takes.
        members: {"name", "backbone", "head", "weight"} each, weights summing to 1.
        calibration: see `Calibration.to_json`.
        thresholds: see `thresholds.class_thresholds`.
        data_version: of the data it was trained on.
        code_version: of the code that made it.
        synthetic: trained on phantoms.
        ensemble: how members are combined; None where there is one network.
    """
    return {
        "name": name,
        "classes": list(classes),
        "image_size": image_size,
        "compact": compact,
        "members": list(members),
        "ensemble": ensemble,
        "calibration": calibration,
        "thresholds": thresholds,
        "data": data_version,
        "code": code_version,
        "synthetic": synthetic,
    }


def read_info(saved_model: Path) -> dict[str, Any]:
    """model.json of a SavedModel folder. Raises CxrflowError if it has none."""
    path = saved_model / _MODEL_JSON
    if not path.is_file():
        raise CxrflowError(f"{saved_model} has no {_MODEL_JSON}: it is no model of cxrflow")
    return json.loads(path.read_text())


def write_assets(saved_model: Path, info: dict[str, Any]) -> None:
    """Adds assets.extra to a SavedModel folder."""
    described = saved_model / _MODEL_JSON
    described.parent.mkdir(exist_ok=True)
    described.write_text(json.dumps(info, indent=2, allow_nan=False) + "\n")
    _write_warmup(described.with_name("tf_serving_warmup_requests"))


def _write_warmup(path: Path) -> None:
    """One request per image size, so that TF Serving's first real request isn't slow."""
    # Slow to import, and not needed to read model.json.
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for side in _WARMUP_SIDES:
            gray = np.linspace(0, 255, side * side).reshape(side, side, 1).astype(np.uint8)
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = "serving_default"
            request.inputs["image_bytes"].CopyFrom(
                tf.make_tensor_proto([tf.io.encode_png(gray).numpy()])
            )
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
