"""What is used of the insides of TensorFlow, Keras and LiteRT, which no version promises.

tests/components/test_private_api.py names the versions that this was tried with, and the few other
places that use the insides of somebody: of Beam, or what a class inherits.
"""

from ai_edge_litert.interpreter import Interpreter
from keras.src.utils import naming
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.schema_py_generated import (
    BufferT,
    BuiltinOperator,
    MetadataT,
    ModelT,
    OperatorCodeT,
    OperatorT,
    Padding,
    QuantizationParametersT,
    SubGraphT,
    TensorT,
    TensorType,
)
from tensorflow.lite.python.util import modify_model_io_type
from tensorflow.lite.tools import flatbuffer_utils
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.framework.meta_graph import strip_graph_default_valued_attrs

__all__ = [
    "BufferT",
    "BuiltinOperator",
    "MetadataT",
    "ModelT",
    "OperatorCodeT",
    "OperatorT",
    "Padding",
    "QuantizationParametersT",
    "SubGraphT",
    "TensorT",
    "TensorType",
    "computed_tensors",
    "convert_variables_to_constants_v2",
    "flatbuffer_utils",
    "forget_layer_names",
    "mlir_quantize",
    "modify_model_io_type",
    "strip_graph_default_valued_attrs",
]


def forget_layer_names() -> None:
    """Keras counts the layers of a kind from one again; `clear_session` forgets more than that."""
    naming.reset_uids()


def computed_tensors(interpreter: Interpreter) -> set[int]:
    """Indices of the tensors that a LiteRT model's operations put out."""
    return {int(x) for one in interpreter._get_ops_details() for x in one["outputs"]}
