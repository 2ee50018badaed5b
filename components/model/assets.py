"""assets.extra of a SavedModel: model.json, warm-up requests for TF Serving, and the detector of
what is no chest X-ray."""

from pathlib import Path

import numpy as np

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import MODEL_JSON, ModelJson, write_model_json
from cxrflow.schema.portable.out_of_distribution import (
    FILE,
    Detector,
    read_detector,
    write_detector,
)

_WARMUP_SIDES = (1024, 512)  # pixels; NIH originals, and half


def write_assets(saved_model: Path, info: ModelJson, detector: Detector | None = None) -> None:
    """Adds assets.extra to a SavedModel folder; `detector` is the one that its graph has inside."""
    write_model_json(saved_model, info)
    if detector is not None:
        write_detector(str(_detector_path(saved_model)), detector)
    _write_warmup((saved_model / MODEL_JSON).with_name("tf_serving_warmup_requests"))


def load_detector(saved_model: Path, info: ModelJson) -> Detector | None:
    """The detector of a SavedModel with this model.json; None if it has none.

    Raises CxrflowError if its file is missing or is no such file.
    """
    if info.out_of_distribution is None:
        return None
    try:
        return read_detector(str(_detector_path(saved_model)))
    except (OSError, ValueError) as error:
        raise CxrflowError(f"{error}; its model.json speaks of it: train the model anew") from None


def _detector_path(saved_model: Path) -> Path:
    return (saved_model / MODEL_JSON).with_name(FILE)


def _write_warmup(path: Path) -> None:
    """One request per image size, so that TF Serving's first real request isn't slow."""
    import tensorflow as tf  # here, as whoever only reads assets needn't load it
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
