"""Runs in TensorFlow 2.7: tf27_driver.py NAME,NAME BUNDLE... prints a JSON line for each bundle.

PYTHONPATH names the folder with the device's scripts. Those named are also converted for TensorRT.
TF-TRT's converter is the real one: without a GPU it can choose the operations of its engines, not
build or save them.
"""

import json
import shutil
import sys
import tempfile

import numpy as np
from tensorflow.python.compiler.tensorrt import trt_convert

import build_trt
from building import differences, read_golden
from bundle import open_bundle
from frozen import load_frozen

CONVERTED, FIRST, *OTHERS = sys.argv[1:]
# No work, or done by what is beside an engine: inputs, outputs, constants, and the guard on [n, C]
# logits that aren't finite (frozen.py).
_PASSIVE = {"Placeholder", "Const", "Identity", "NoOp", "TRTEngineOp", "IsFinite", "SelectV2"}


def prove(folder: str) -> dict:
    """How far its SavedModel's answers are from the source's; engines, and operations outside."""
    bundle = open_bundle(folder)
    pixels, expected = read_golden(bundle)
    ends, size = bundle.info["frozen_graph"], bundle.info["image_size"]
    frozen = load_frozen(bundle.path("frozen_graph"), ends["input"], ends["output"])
    with tempfile.TemporaryDirectory() as saved:
        build_trt.write_saved_model(frozen, size, saved)
        found = differences(build_trt.load_saved_model(saved)(pixels), expected)
        proof = {"name": bundle.info["name"], "difference": found["largest"]}
        if proof["name"] in CONVERTED.split(","):
            converter = build_trt._converter(saved, build_trt._parser().parse_args([]))
            converter.convert()
            nodes = converter._converted_graph_def.node
            proof["engines"] = sum(node.op == "TRTEngineOp" for node in nodes)
            proof["outside"] = sorted({node.op for node in nodes} - _PASSIVE)
    return proof


class OffDevice(trt_convert.TrtGraphConverterV2):
    """TF-TRT's converter, which keeps the unconverted model where an engine would be built."""

    def build(self, input_fn):
        for (images,) in input_fn():
            print(json.dumps({"built for": np.shape(images)}))

    def save(self, folder):
        shutil.copytree(self._input_saved_model_dir, folder)


def main() -> None:
    trt_convert._check_trt_version_compatibility = lambda: None
    for folder in [FIRST, *OTHERS]:
        print(json.dumps(prove(folder)), flush=True)
    trt_convert.TrtGraphConverterV2 = OffDevice
    with tempfile.TemporaryDirectory() as engine:
        code = build_trt.main(["--bundle", FIRST, "--into", engine, "--batch", "3"])
        with open(engine + "/" + build_trt.ENGINE_INFO) as file:
            print(json.dumps({"code": code, "engine": json.load(file)}))


main()
