"""A LiteRT model in int8 from the first layer to the head."""

import numpy as np
import tensorflow as tf

from cxrflow.components.edge.export.activations import Activations, observe, windows_of
from cxrflow.components.edge.export.fixed import to_fixed
from cxrflow.components.edge.export.flatbuffer import (
    convolutions,
    operations,
    output_axis,
    put,
    read,
    store_as_half,
    values,
    write,
)
from cxrflow.components.private_api import (
    ModelT,
    QuantizationParametersT,
    SubGraphT,
    TensorType,
    mlir_quantize,
    modify_model_io_type,
)

_LINEAR = "FULLY_CONNECTED"
_HEAD = "head_"  # what a head's layers are named


def quantize(model: bytes, pixels: np.ndarray, float_layers: int = 0) -> bytes:
    """From uint8 [1, S, S, 3] to probabilities float32 [1, C].

    Weights and activations of the backbone are int8. The head, some hundredths of the work, stays
    float32: its sums over places and features would lose more than all else, and 256 different
    probabilities are too few where a finding is rare.

    Args:
        model: the float32 LiteRT model.
        pixels: what it sees of training images, gray, uint8 [N, S, S].
        float_layers: how many of the first convolutions compute in float32, a third of all at most:
            a step of their activations is much of what tells X-rays apart.
    """
    parsed = read(model)
    graph = parsed.subgraphs[0]
    windows = windows_of(parsed)
    seen = observe(model, windows.values(), pixels)
    (image,) = graph.inputs
    seen.lows[image], seen.highs[image] = 0.0, 255.0  # so that a step is one gray level
    _note_ranges(graph, seen)
    exact = [*_first(parsed, float_layers), *_head(graph)]
    quantized = read(mlir_quantize(write(parsed), denylisted_nodes=exact))
    correct_biases(parsed, quantized, {name: seen.means[w] for name, w in windows.items()})
    store_as_half(quantized)
    return modify_model_io_type(write(quantized), tf.uint8, tf.float32)


def _note_ranges(graph: SubGraphT, seen: Activations) -> None:
    for tensor, low in seen.lows.items():
        graph.tensors[tensor].quantization = QuantizationParametersT()
        graph.tensors[tensor].quantization.min = [low]
        graph.tensors[tensor].quantization.max = [seen.highs[tensor]]


def correct_biases(model: ModelT, quantized: ModelT, means: dict[bytes, np.ndarray]) -> None:
    """Has each bias make up for what rounding the weights does to the mean of an output channel.

    Nagel et al. 2019, arXiv 1906.04721, section 4.2. X-rays vary little from place to place, so
    that most of the error is such a shift.

    Args:
        model: in float32.
        quantized: the same with int8 weights, and biases of int32 or float32; changed here.
        means: what each convolution sees on average, by the name of its output.
    """
    graph, rounded = model.subgraphs[0], quantized.subgraphs[0]
    before = {graph.tensors[one.outputs[0]].name: one for one in convolutions(model)}
    for operation in convolutions(quantized):
        name = rounded.tensors[operation.outputs[0]].name
        _, kernel, bias = (rounded.tensors[tensor] for tensor in operation.inputs)
        if kernel.type != TensorType.INT8:
            continue  # it stays in float32
        _, *exact = (graph.tensors[tensor] for tensor in before[name].inputs)
        weights, intercepts = (values(model, tensor, np.float32) for tensor in exact)
        others = tuple(a for a in range(4) if a != output_axis(quantized, operation))
        steps = np.expand_dims(np.array(kernel.quantization.scale), others)  # of each output, or 1
        error = (weights - steps * values(quantized, kernel, np.int8)) * means[name]
        corrected = intercepts + error.sum(axis=others)
        if bias.type == TensorType.INT32:
            corrected = np.rint(corrected / np.array(bias.quantization.scale)).astype(np.int32)
        put(quantized, bias, corrected if bias.type == TensorType.INT32 else np.float32(corrected))


def keep_unlike_kernels(model: ModelT, quantized: ModelT) -> None:
    """Gives linear layers their float32 kernels back whose weights are too unlike for steps.

    As with 16 bits, so all the more with 8: see `fixed.to_fixed`.

    Args:
        model: in float32.
        quantized: the same with int8 weights; changed here.
    """
    graph, rounded = model.subgraphs[0], quantized.subgraphs[0]
    before = {graph.tensors[one.outputs[0]].name: one for one in operations(model, _LINEAR)}
    for operation in operations(quantized, _LINEAR):
        kernel = rounded.tensors[operation.inputs[1]]
        if kernel.type != TensorType.INT8:
            continue
        exact = before[rounded.tensors[operation.outputs[0]].name].inputs[1]
        weights = values(model, graph.tensors[exact], np.float32)
        if to_fixed(weights, axis=0) is None:
            put(quantized, kernel, weights)
            kernel.type, kernel.quantization = TensorType.FLOAT32, None


def _first(model: ModelT, count: int) -> list[str]:
    """Names of what the first convolutions put out."""
    found, tensors = convolutions(model), model.subgraphs[0].tensors
    return [tensors[one.outputs[0]].name.decode() for one in found[: min(count, len(found) // 3)]]


def _head(graph: SubGraphT) -> list[str]:
    """Names of what a head's operations put out, and of all that follows."""
    found = set(graph.outputs)
    for operation in graph.operators:  # inputs first
        named = any(_HEAD in graph.tensors[x].name.decode() for x in operation.outputs)
        if named or found.intersection(operation.inputs):
            found.update(operation.outputs)
    return [graph.tensors[tensor].name.decode() for tensor in sorted(found)]
