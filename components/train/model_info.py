"""assets.extra of a SavedModel: model.json, and warm-up requests for TF Serving."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

_WARMUP_SIDES = (1024, 512)  # pixels; NIH originals, and half


def model_info(
    classes: Sequence[str],
    image_size: int,
    compact: dict[str, Any],
    members: Sequence[dict[str, Any]],
    data_version: str,
    code_version: str,
    synthetic: bool,
) -> dict[str, Any]:
    """What model.json holds.

    compact: form of the transformed images that it takes; members: {"backbone", "head", "weight"}
    each, weights summing to 1; image_size in pixels; thresholds per class are empty until a step
    chooses them; synthetic: trained on phantoms.
    """
    return {
        "classes": list(classes),
        "image_size": image_size,
        "compact": compact,
        "members": list(members),
        "data": data_version,
        "code": code_version,
        "synthetic": synthetic,
        "thresholds": {},
    }


def write_assets(saved_model: Path, info: dict[str, Any]) -> None:
    """Adds assets.extra to a SavedModel folder."""
    extra = saved_model / "assets.extra"
    extra.mkdir(exist_ok=True)
    (extra / "model.json").write_text(json.dumps(info, indent=2) + "\n")
    _write_warmup(extra / "tf_serving_warmup_requests")


def _write_warmup(path: Path) -> None:
    """One request per image size, so that TF Serving's first real request isn't slow."""
    # Part of tensorflow-serving-api, which takes a second to import.
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
