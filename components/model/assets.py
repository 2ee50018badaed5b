"""assets.extra of a SavedModel: model.json, and warm-up requests for TF Serving."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from cxrflow.schema.model_json import MODEL_JSON, ModelJson, write_model_json

_WARMUP_SIDES = (1024, 512)  # pixels; NIH originals, and half


def write_assets(saved_model: Path, info: ModelJson) -> None:
    """Adds assets.extra to a SavedModel folder."""
    write_model_json(saved_model, info)
    _write_warmup((saved_model / MODEL_JSON).with_name("tf_serving_warmup_requests"))


def _write_warmup(path: Path) -> None:
    """One request per image size, so that TF Serving's first real request isn't slow."""
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
