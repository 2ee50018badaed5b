"""Runs one variant, as `python -m` with the arguments BUNDLE VARIANT PIXELS.npy OUT.npy.

It prints the number of images done, line by line, or at last
{"error": "why the variant doesn't run"}. TensorFlow is imported for the frozen graph only.

What the sigmoids get is looked at too: the sigmoid of infinity is 1, which looks like an answer.
"""

import json
import lzma
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.components.edge.device import EDGE
from cxrflow.schema.lean import lean_import

MODEL_JSON = "model.json"
THREADS = 2

# One image [1, S, S, 3] of the variant's dtype -> probabilities [1, C], and what each sigmoid got.
Runner = Callable[[np.ndarray], tuple[np.ndarray, Sequence[np.ndarray]]]


def litert(path: Path, info: dict[str, Any], dtype: str) -> Runner:
    """A LiteRT model, whose runner answers uint8 or float32 [1, S, S, 3] as `dtype` says.

    Raises:
        ValueError: the file is none, or takes another dtype; later, of the runner: the model
            answers otherwise once its logits are outputs too.
    """
    from ai_edge_litert.interpreter import Interpreter

    itself = Interpreter(model_path=str(path), num_threads=THREADS)
    itself.allocate_tensors()
    (pixels,), (probabilities,) = itself.get_input_details(), itself.get_output_details()
    if pixels["dtype"] != np.dtype(dtype):
        raise ValueError(f"its input is {np.dtype(pixels['dtype'])}, not {dtype}")
    open_one = Interpreter(model_content=_with_sigmoid_inputs(path), num_threads=THREADS)
    open_one.allocate_tensors()
    _, *logits = open_one.get_output_details()

    def ask(interpreter: Interpreter, image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(pixels["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(probabilities["index"])

    compared = False

    def run(image: np.ndarray) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        nonlocal compared
        answer = ask(open_one, image)
        if not compared and not np.array_equal(answer, ask(itself, image), equal_nan=True):
            raise ValueError("more outputs change its answers")
        compared = True
        return answer, [open_one.get_tensor(one["index"]) for one in logits]

    return run


def _with_sigmoid_inputs(path: Path) -> bytes:
    """The LiteRT model with what its sigmoids get as further outputs."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in model.operatorCodes]
    found = [
        int(one.inputs[0])
        for one in graph.operators
        if codes[one.opcodeIndex] == schema.BuiltinOperator.LOGISTIC
    ]
    ends = {*map(int, graph.outputs), *map(int, graph.inputs)}
    graph.outputs = [*map(int, graph.outputs), *dict.fromkeys(x for x in found if x not in ends)]
    model.signatureDefs = None  # they would name one output
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tensorflow(path: Path, info: dict[str, Any], dtype: str) -> Runner:
    """The frozen graph, read by the device's own functions, whose errors it raises."""
    with lean_import():
        import tensorflow as tf

    sys.path.insert(0, str(EDGE))  # this process runs one variant, as the device does
    from frozen import (  # type: ignore[import-not-found]  # a script of the device
        float32_weights,
        read_graph,
    )

    ends = info["frozen_graph"]
    graph = float32_weights(read_graph(str(path)))
    logits = [node.input[0] for node in graph.node if node.op == "Sigmoid"]
    names = [ends["output"], *(name if ":" in name else f"{name}:0" for name in logits)]
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    source, *targets = (whole.graph.as_graph_element(name) for name in (ends["input"], *names))
    ask = whole.prune(source, targets)

    def run(image: np.ndarray) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        answer, *logits = (one.numpy() for one in ask(tf.constant(image)))
        return answer, logits

    return run


def onnx(path: Path, info: dict[str, Any], dtype: str) -> Runner:
    """An ONNX model, in an .xz container or not. Raises their errors if the file is none."""
    import onnx as format_
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    content = path.read_bytes()
    model = format_.load_from_string(lzma.decompress(content) if path.suffix == ".xz" else content)
    there = {one.name for one in (*model.graph.output, *model.graph.input)}
    for node in model.graph.node:
        if node.op_type == "Sigmoid" and node.input[0] not in there:
            there.add(node.input[0])
            one = format_.helper.make_tensor_value_info(
                node.input[0], format_.TensorProto.FLOAT, None
            )
            model.graph.output.append(one)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (pixels,) = session.get_inputs()

    def run(image: np.ndarray) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        answer, *logits = session.run(None, {pixels.name: image})
        return answer, logits

    return run


_RUNNERS = {"litert": litert, "tensorflow": tensorflow, "onnx": onnx}


def run_all(bundle: Path, key: str, pixels: np.ndarray, done: Callable[[int], None]) -> np.ndarray:
    """What a variant says of gray images, uint8 [N, S, S]: float32 [N, C].

    NaN for an image of which a sigmoid got what isn't finite. `done` gets the number of images so
    far. Raises ValueError if the answers aren't [1, C] each, KeyError if model.json doesn't
    describe the variant, and whatever the runtime raises.
    """
    info = read_description(bundle)
    variant, classes = info["variants"][key], len(info["classes"])
    runner = _RUNNERS[variant["runtime"]](bundle / variant["file"], info, variant["input_dtype"])
    answers = np.empty((len(pixels), classes), np.float32)
    for i, gray in enumerate(pixels):
        image = np.repeat(gray[None, :, :, None], 3, axis=-1).astype(variant["input_dtype"])
        answer, logits = runner(image)
        if answer.shape != (1, classes):
            raise ValueError(f"its output is {list(answer.shape)}, not [1, {classes}]")
        finite = all(np.isfinite(one).all() for one in logits)
        answers[i] = answer[0] if finite else np.nan
        done(i + 1)
    return answers


def read_description(bundle: Path) -> dict[str, Any]:
    """What a bundle says of itself."""
    return json.loads((bundle / MODEL_JSON).read_text(encoding="utf-8"))


def first_line(error: BaseException) -> str:
    """An error for a report."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def main(bundle: str, key: str, pixels: str, out: str) -> None:
    """Writes the answers to `out`, or says why there are none."""
    images = np.load(pixels, mmap_mode="r")
    try:
        answers = run_all(Path(bundle), key, images, lambda count: print(count, flush=True))
    except Exception as error:  # whatever a runtime raises, it is the variant's fault
        print(json.dumps({"error": first_line(error)}))
        return
    np.save(out, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
