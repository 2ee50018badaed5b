"""The frozen graph as ONNX of opset 13, which TensorRT 8.2 reads."""

import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnxruntime
import tf2onnx
from onnx import ModelProto, TensorProto, numpy_helper
from tensorflow.core.framework.graph_pb2 import GraphDef
from tf2onnx.constants import ENV_TF2ONNX_CATCH_ERRORS

from cxrflow.components.edge.export.fixed import to_fixed
from cxrflow.components.edge.export.source import INPUT, OUTPUT, rgb

OPSET = 13
# Of the weights in the largest tensors, deep in the network, two bits fewer mostly do, and pack
# better.
_LARGE, _LARGE_BITS, _BITS = 300_000, (13, 15), 15
# Bytes are told apart by their place in a float, and a long dictionary finds nothing in weights.
_XZ = [
    {"id": lzma.FILTER_LZMA2, "preset": 4, "lc": 0, "lp": 2, "pb": 2, "dict_size": 4096},
]


def to_onnx(graph: GraphDef) -> ModelProto:
    """From `image`, float32 [N, S, S, 3], to `probabilities`, float32 [N, C], with any N.

    Args:
        graph: of `freeze`, with float32 weights: TensorRT takes a convolution's from constants
            only, not from a Cast.
    """
    try:
        with _no_copies():
            model = _convert(graph)
    except Exception:  # one of its optimizers fails, which is left out if they work on copies
        model = _convert(graph)
    names = {f"{INPUT}:0": INPUT, f"{OUTPUT}:0": OUTPUT}
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    return model


def _convert(graph: GraphDef) -> ModelProto:
    model, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=[f"{INPUT}:0"], output_names=[f"{OUTPUT}:0"], opset=OPSET
    )
    return model


@contextmanager
def _no_copies() -> Iterator[None]:
    """Lets tf2onnx's dozen optimizers change one graph: else each copies all of its weights."""
    before = os.environ.get(ENV_TF2ONNX_CATCH_ERRORS)
    os.environ[ENV_TF2ONNX_CATCH_ERRORS] = "FALSE"
    try:
        yield
    finally:
        del os.environ[ENV_TF2ONNX_CATCH_ERRORS]
        if before is not None:
            os.environ[ENV_TF2ONNX_CATCH_ERRORS] = before


def rounded(
    model: ModelProto, pixels: np.ndarray, expected: np.ndarray, tolerance: float
) -> ModelProto:
    """Its weights rounded (see `fixed`), still float32: they pack to half of their size.

    As far as the probabilities stay; as it is where even the finest rounding moves them further.

    Args:
        model: of `to_onnx`.
        pixels: of some images, uint8 [N, S, S].
        expected: the source's probabilities of them, float32 [N, C].
        tolerance: the most that one of them may differ by.
    """
    for bits in _LARGE_BITS:
        found = ModelProto()
        found.CopyFrom(model)
        for tensor in found.graph.initializer:
            _round(tensor, bits)
        if np.abs(probabilities(found, pixels) - expected).max() <= tolerance:
            return found
    return model


def probabilities(model: ModelProto, pixels: np.ndarray) -> np.ndarray:
    """What it says of gray images, uint8 [N, S, S]: float32 [N, C]."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run([OUTPUT], {INPUT: rgb(one[None])})[0] for one in pixels])


def pack(model: ModelProto) -> bytes:
    """The file, in an .xz container."""
    return lzma.compress(model.SerializeToString(deterministic=True), filters=_XZ)


def _round(tensor: TensorProto, large_bits: int) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    axis = 0 if values.ndim == 4 else -1  # a convolution's output channels come first
    fixed = to_fixed(values, axis, large_bits if values.size >= _LARGE else _BITS)
    if fixed is not None:
        tensor.CopyFrom(numpy_helper.from_array(fixed.values, tensor.name))
