"""TensorFlow's converter to LiteRT, and what it says of an operation that LiteRT hasn't."""

import re
from typing import Any

import tensorflow as tf

from cxrflow.schema.errors import CxrflowError

# The converter's own lists: what TensorFlow's kernels could do on a device that has them, and what
# nobody's can.
_UNKNOWN = re.compile(r"^(?:TF Select|Custom) ops: (.+)$", re.MULTILINE)


def to_litert(name: str, function: Any, holder: Any, dynamic: bool = False) -> bytes:
    """A LiteRT file of builtin operations only.

    The function's graph is frozen and converted. By way of a SavedModel, as the converter does by
    itself, the same takes five times as long, and loses the weights of a live Keras model.

    Args:
        name: of the model, for the error.
        function: a concrete function of a fixed input shape.
        holder: has the function's variables.
        dynamic: weights are int8, and so are a convolution's inputs, by the range that they have in
            each image.

    Raises:
        CxrflowError: LiteRT hasn't one of its operations; they are named.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
    converter.experimental_lower_to_saved_model = False
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if dynamic:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    try:
        return converter.convert()
    except Exception as error:  # ConverterError, and what MLIR raises besides
        raise CxrflowError(f"{name} can't become a LiteRT model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The operations that LiteRT hasn't, or the first line of whatever else was said."""
    if named := ", ".join(_UNKNOWN.findall(str(error))):
        return f"LiteRT has no operation {named}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
