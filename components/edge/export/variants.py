"""Which variants a bundle has, and what is asked of each."""

from cxrflow.components.edge.export.settings import EdgeConfig

VARIANTS = {
    "litert_fp32": {"file": "model_fp32.tflite", "runtime": "litert", "input_dtype": "float32"},
    "litert_fp16": {"file": "model_fp16.tflite", "runtime": "litert", "input_dtype": "float32"},
    "litert_dynamic": {
        "file": "model_dynamic.tflite",
        "runtime": "litert",
        "input_dtype": "float32",
    },
    "litert_int8": {"file": "model_int8.tflite", "runtime": "litert", "input_dtype": "uint8"},
    "frozen_graph": {"file": "frozen_graph.pb", "runtime": "tensorflow", "input_dtype": "float32"},
    "onnx": {"file": "model.onnx.xz", "runtime": "onnx", "input_dtype": "float32"},
}
QUANTIZED = ("litert_dynamic", "litert_int8")  # weights of 8 bits move every probability


def tolerance(key: str, config: EdgeConfig) -> dict[str, float]:
    """How far an answer on the device may be from a variant's golden one, as model.json says it."""
    if key not in QUANTIZED:
        return {"golden_tolerance": config.golden_tolerance}
    return {
        "golden_tolerance": config.golden_tolerance_quantized,
        "golden_tolerance_older": config.golden_tolerance_older,
    }


def max_decision_change(key: str, config: EdgeConfig) -> float | None:
    """Which share of a quantized variant's decisions may not be its source's; None: a float one."""
    limits = {
        "litert_dynamic": config.max_decision_change_dynamic,
        "litert_int8": config.max_decision_change_int8,
    }
    return limits.get(key)
