"""Runs one variant: python -m components.edge_evaluate.runners BUNDLE VARIANT PIXELS.npy OUT.npy.

It prints the number of images done, line by line, or at last
{"error": "why the variant doesn't run"}. TensorFlow is imported for the frozen graph only.
"""

import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MODEL_JSON = "model.json"
THREADS = 2

# One image [1, S, S, 3] of the variant's dtype -> probabilities [1, C].
Runner = Callable[[np.ndarray], np.ndarray]


def litert(path: Path, info: dict[str, Any], dtype: str) -> Runner:
    """A LiteRT model. Raises ValueError if the file is none, or takes another dtype."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=THREADS)
    interpreter.allocate_tensors()
    (pixels,), (probabilities,) = interpreter.get_input_details(), interpreter.get_output_details()
    if pixels["dtype"] != np.dtype(dtype):
        raise ValueError(f"its input is {np.dtype(pixels['dtype'])}, not {dtype}")

    def run(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(pixels["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(probabilities["index"])

    return run


def tensorflow(path: Path, info: dict[str, Any], dtype: str) -> Runner:
    """The frozen graph, by the device's own loader, whose errors it raises."""
    from edge.frozen import load_frozen

    ends = info["frozen_graph"]
    graph = load_frozen(str(path), ends["input"], ends["output"])

    def run(image: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        return graph(tf.constant(image)).numpy()

    return run


def onnx(path: Path, info: dict[str, Any], dtype: str) -> Runner:
    """An ONNX model, in an .xz container or not. Raises their errors if the file is none."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    content = path.read_bytes()
    model = lzma.decompress(content) if path.suffix == ".xz" else content
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    return lambda image: session.run(None, {pixels.name: image})[0]


_RUNNERS = {"litert": litert, "tensorflow": tensorflow, "onnx": onnx}


def run_all(bundle: Path, key: str, pixels: np.ndarray, done: Callable[[int], None]) -> np.ndarray:
    """What a variant says of gray images, uint8 [N, S, S]: float32 [N, C].

    `done` gets the number of images so far. Raises ValueError if the answers aren't [1, C] each,
    KeyError if model.json doesn't describe the variant, and whatever the runtime raises.
    """
    info = read_model_json(bundle)
    variant, classes = info["variants"][key], len(info["classes"])
    runner = _RUNNERS[variant["runtime"]](bundle / variant["file"], info, variant["input_dtype"])
    answers = np.empty((len(pixels), classes), np.float32)
    for i, gray in enumerate(pixels):
        image = np.repeat(gray[None, :, :, None], 3, axis=-1).astype(variant["input_dtype"])
        answer = runner(image)
        if answer.shape != (1, classes):
            raise ValueError(f"its output is {list(answer.shape)}, not [1, {classes}]")
        answers[i] = answer[0]
        done(i + 1)
    return answers


def read_model_json(bundle: Path) -> dict[str, Any]:
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
