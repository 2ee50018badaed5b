"""Conversion to LiteRT as a device's maker would do it."""

from pathlib import Path

import numpy as np


def assert_pixels_convert(saved_model: Path) -> None:
    """The signature `pixels` [1, 64, 64, 3] becomes a LiteRT model with the same probabilities."""
    import tensorflow as tf

    model = tf.saved_model.load(str(saved_model))
    pixels = model.signatures["pixels"]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([pixels], model)
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    converted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(
        converted, pixels(image=tf.constant(image))["probabilities"], atol=1e-4
    )
