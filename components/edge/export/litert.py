"""LiteRT files of builtin operations only, in float32, float16 and dynamic range."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from cxrflow.components.edge.export.activations import observe, windows_of
from cxrflow.components.edge.export.convert import to_litert
from cxrflow.components.edge.export.flatbuffer import (
    convolutions,
    output_axis,
    put,
    read,
    store_as_half,
    values,
    write,
)
from cxrflow.components.edge.export.half import to_half
from cxrflow.components.edge.export.quantize import correct_biases, keep_unlike_kernels
from cxrflow.components.edge.export.source import Source, rgb


def convert(source: Source, dynamic: bool = False) -> bytes:
    """From float32 [1, S, S, 3], 0-255, to probabilities float32 [1, C].

    Raises CxrflowError as `to_litert`.
    """
    return to_litert(source.info.name, source.function(1), source.model, dynamic)


def with_dynamic_range(source: Source, model: bytes, pixels: np.ndarray) -> bytes:
    """`convert` with `dynamic`, whose biases make up for the rounding; see `correct_biases`.

    A probe's kernel stays in float32; see `keep_unlike_kernels`.

    Args:
        source: to convert.
        model: the same in float32.
        pixels: what it sees of training images, gray, uint8 [N, S, S].
    """
    parsed, quantized = read(model), read(convert(source, dynamic=True))
    windows = windows_of(parsed)
    seen = observe(model, windows.values(), pixels)
    correct_biases(parsed, quantized, {name: seen.means[w] for name, w in windows.items()})
    keep_unlike_kernels(parsed, quantized)
    return write(quantized)


def with_half_weights(model: bytes, pixels: np.ndarray) -> bytes:
    """Returns the model with weights stored as float16; it computes in float32.

    A convolution's bias makes up for what rounding does to the mean of its output over `pixels`,
    gray images uint8 [N, S, S]; see `quantize`.
    """
    parsed = read(model)
    graph, windows = parsed.subgraphs[0], windows_of(parsed)
    seen = observe(model, windows.values(), pixels)
    for operation in convolutions(parsed):
        _, kernel, bias = (graph.tensors[tensor] for tensor in operation.inputs)
        weights = values(parsed, kernel, np.float32)
        if (halves := to_half(weights)) is not None:
            mean = seen.means[windows[graph.tensors[operation.outputs[0]].name]]
            others = tuple(axis for axis in range(4) if axis != output_axis(parsed, operation))
            shift = ((weights - halves) * mean).sum(axis=others)
            put(parsed, bias, (values(parsed, bias, np.float32) + shift).astype(np.float32))
    store_as_half(parsed)
    return write(parsed)


def run(model: bytes, pixels: np.ndarray) -> np.ndarray:
    """Probabilities float32 [N, C] that a LiteRT model gives gray images uint8 [N, S, S]."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for one in pixels:
        interpreter.set_tensor(image["index"], rgb(one[None]).astype(image["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"])[0])
    return np.stack(found)
