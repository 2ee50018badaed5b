"""A LiteRT file's content as objects, and what is done to its constants."""

import copy
from typing import Any

import numpy as np

from cxrflow.components.edge.export.half import to_half
from cxrflow.components.private_api import (
    BufferT,
    BuiltinOperator,
    ModelT,
    OperatorCodeT,
    OperatorT,
    TensorT,
    TensorType,
    flatbuffer_utils,
)

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def read(model: bytes) -> ModelT:
    """The objects in a .tflite file."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(model))


def write(model: ModelT) -> bytes:
    """The .tflite file of these objects, without the memory that no tensor has any more."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {metadata.buffer for metadata in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def values(model: ModelT, tensor: TensorT, dtype: Any) -> np.ndarray:
    """What a constant holds, of `dtype` and the tensor's shape."""
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), dtype).reshape(tensor.shape)


def convolutions(model: ModelT) -> list[OperatorT]:
    """Convolutions, depthwise ones too; their inputs are activations, kernel and bias."""
    return operations(model, *_CONVOLUTIONS)


def operations(model: ModelT, *names: str) -> list[OperatorT]:
    """Operations of these kinds, in the model's order."""
    return [
        operation
        for operation in model.subgraphs[0].operators
        if flatbuffer_utils.opcode_to_name(model, operation.opcodeIndex) in names
    ]


def output_axis(model: ModelT, convolution: OperatorT) -> int:
    """Which axis of a convolution's kernel [., h, w, .] is that of its output channels."""
    name = flatbuffer_utils.opcode_to_name(model, convolution.opcodeIndex)
    return 3 if name == "DEPTHWISE_CONV_2D" else 0


def put(model: ModelT, tensor: TensorT, content: np.ndarray) -> None:
    """Gives a constant new values, of any shape, in memory of its own: it may have been shared."""
    buffer = BufferT()
    buffer.data = np.frombuffer(content.tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)


def store_as_half(model: ModelT) -> None:
    """Stores weights as float16, with a DEQUANTIZE that widens each when the model is loaded."""
    graph = model.subgraphs[0]
    code = OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(code)
    for index, tensor in enumerate(list(graph.tensors)):
        if tensor.type != TensorType.FLOAT32 or model.buffers[tensor.buffer].data is None:
            continue
        halves = to_half(values(model, tensor, np.float32))
        if halves is None:
            continue
        half, widen = copy.copy(tensor), OperatorT()
        half.type, half.name = TensorType.FLOAT16, tensor.name + b"/half"
        put(model, half, halves)
        tensor.buffer = 0  # the empty one
        widen.opcodeIndex = len(model.operatorCodes) - 1
        widen.inputs, widen.outputs = [len(graph.tensors)], [index]
        graph.tensors.append(half)
        graph.operators.insert(0, widen)
