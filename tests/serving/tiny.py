"""A model that answers in no time, and images for it."""

from pathlib import Path

import numpy as np

SIDE = 64


def write_tiny(folder: Path, mark: float) -> Path:
    """A SavedModel with the signatures of a real one; `mark` is its second probability.

    The first is the image's mean, of 1.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    def decode(png: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.io.decode_png(png, channels=1), [None, None, 1])

    def outputs(means: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.stack([means / 255, tf.fill(tf.shape(means), mark)], axis=1)
        return {"probabilities": probabilities, "logits": tf.math.log(probabilities + 1e-6)}

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serving_default(image_bytes):
        return outputs(
            tf.map_fn(
                lambda png: tf.reduce_mean(tf.cast(decode(png), tf.float32)),
                image_bytes,
                fn_output_signature=tf.float32,
            )
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def examples(examples):
        spec = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
        return serving_default(tf.io.parse_example(examples, spec)["image/encoded"])

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 2, 3], tf.float32, "image")])
    def pixels(image):
        return {"probabilities": outputs(tf.reduce_mean(image, [1, 2, 3]))["probabilities"]}

    tf.saved_model.save(
        module,
        str(folder),
        signatures={"serving_default": serving_default, "examples": examples, "pixels": pixels},
    )
    extra = folder / "assets.extra"
    extra.mkdir()
    (extra / "model.json").write_text('{"classes": ["Mean", "Mark"], "synthetic": true}')
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([gray_png(1)]))
    log = prediction_log_pb2.PredictLog(request=request)
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    return folder


def gray_png(value: int, side: int = SIDE) -> bytes:
    """A PNG of one gray."""
    import cv2

    return cv2.imencode(".png", np.full((side, side), value, np.uint8))[1].tobytes()
