"""What happens inside a LiteRT model on some images: the ranges and means that int8 needs."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from cxrflow.components.edge.export.flatbuffer import convolutions
from cxrflow.components.edge.export.source import rgb
from cxrflow.components.private_api import ModelT, Padding, computed_tensors
from cxrflow.schema.progress import report

_MEAN_IMAGES = 50  # their pixels and places are far more


@dataclass(frozen=True)
class Window:
    """What a convolution looks at."""

    tensor: int  # its input
    size: tuple[int, int]  # height, width
    stride: tuple[int, int]
    same: bool  # padded with zeros to as many outputs as inputs, over stride


@dataclass(frozen=True)
class Activations:
    """The activations of one model over some images."""

    lows: dict[int, float] = field(default_factory=dict)  # by tensor
    highs: dict[int, float] = field(default_factory=dict)
    means: dict[Window, np.ndarray] = field(default_factory=dict)  # float64 [height, width, C]


def windows_of(model: ModelT) -> dict[bytes, Window]:
    """What each convolution looks at, by the name of its output."""
    graph = model.subgraphs[0]
    found = {}
    for operation in convolutions(model):
        kernel, options = graph.tensors[operation.inputs[1]], operation.builtinOptions
        found[graph.tensors[operation.outputs[0]].name] = Window(
            int(operation.inputs[0]),
            (int(kernel.shape[1]), int(kernel.shape[2])),
            (options.strideH, options.strideW),
            options.padding == Padding.SAME,
        )
    return found


def observe(model: bytes, windows: Iterable[Window], pixels: np.ndarray) -> Activations:
    """Runs a float32 LiteRT model on gray images uint8 [N, S, S].

    The converter's own calibration doesn't do: it reads a tensor when a later operation may have
    reused its memory already, and takes that one's range for it.
    """
    interpreter = Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        num_threads=os.cpu_count(),
    )
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    outputs = computed_tensors(interpreter)
    found = Activations()
    every = -(-len(pixels) // _MEAN_IMAGES)
    looked_at = len(pixels[::every])
    for index, one in enumerate(pixels):
        interpreter.set_tensor(image["index"], rgb(one[None]))
        interpreter.invoke()
        for tensor in {image["index"], *outputs}:
            values = interpreter.get_tensor(tensor)
            found.lows[tensor] = min(found.lows.get(tensor, np.inf), float(values.min()))
            found.highs[tensor] = max(found.highs.get(tensor, -np.inf), float(values.max()))
        if index % every == 0:
            for window in windows:
                seen = mean_patch(interpreter.get_tensor(window.tensor)[0], window) / looked_at
                found.means[window] = found.means.get(window, 0.0) + seen
        report(index + 1, len(pixels), "calibration images")
    return found


def mean_patch(activations: np.ndarray, window: Window) -> np.ndarray:
    """The mean of all that a window sees of [H, W, C]: float64 [height, width, C]."""
    if window.same:
        margins = [
            max((-(-side // stride) - 1) * stride + size - side, 0)
            for side, size, stride in zip(
                activations.shape, window.size, window.stride, strict=False
            )
        ]
        activations = np.pad(activations, [*((m // 2, m - m // 2) for m in margins), (0, 0)])
    (height, width), (down, right) = window.size, window.stride
    bottom, end = activations.shape[0] - height + 1, activations.shape[1] - width + 1
    return np.array(
        [
            [
                activations[i : i + bottom : down, j : j + end : right].mean((0, 1), np.float64)
                for j in range(width)
            ]
            for i in range(height)
        ]
    )
