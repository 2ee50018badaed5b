"""build_onnx_trt.py with a trtexec that takes 8.2's options and computes with onnxruntime."""

import json
import lzma
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import build_onnx_trt
from tests.edge.bundles import model_info, sign, variant, write_bundle

SIDE, CLASSES, GOLDEN = 8, ("A", "B"), 3

# Takes all options that TensorRT 8.2's trtexec is called with, and no other.
TRTEXEC = """\
#!{python}
import json, os, re, sys
import numpy as np, onnxruntime
known = "onnx saveEngine fp16 workspace minShapes optShapes maxShapes shapes"
known += " loadInputs exportOutput"
options = dict((a[2:].split("=", 1) + [""])[:2] for a in sys.argv[1:])
assert not set(options) - set(known.split()), options
{change}
name, shape = options["shapes"].rsplit(":", 1)
shape = [int(side) for side in shape.split("x")]
images = np.fromfile(options["loadInputs"].split(":", 1)[1], np.float32).reshape(shape)
session = onnxruntime.InferenceSession(options["onnx"])
(answers,) = session.run(["probabilities"], {{name: images}})
with open(options["exportOutput"], "w") as file:
    values = ", ".join("%g" % value for value in answers.ravel() + {error})
    file.write('[\\n  {{ "name" : "probabilities"\\n  , "dimensions" : "3x2"\\n')
    file.write('  , "values" : [ ' + values + ' ]\\n  }}\\n]\\n')
open(options["saveEngine"], "wb").write(json.dumps(options).encode())
print("[11/23/2026-10:00:00] [I] === Performance summary ===")
print("[11/23/2026-10:00:00] [I] Throughput: 12.5 qps")
"""


@pytest.fixture
def trtexec(tmp_path):
    """Writes one; `change` is code it runs first, `error` is added to its answers."""

    def write(change: str = "", error: float = 0.0) -> Path:
        path = tmp_path / "trtexec"
        path.write_text(TRTEXEC.format(python=sys.executable, change=change, error=error))
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A linear network in ONNX, packed."""
    random = np.random.default_rng(0)
    gray = random.integers(0, 256, (GOLDEN, SIDE, SIDE), dtype=np.uint8)
    weights = random.normal(0, 1e-3, (SIDE * SIDE * 3, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    flat = np.repeat(gray[..., None].astype(np.float32), 3, axis=-1).reshape(GOLDEN, -1)
    return write_bundle(
        tmp_path / "1795400000",
        model_info({"onnx": variant("model.onnx.xz", "onnx")}, classes=CLASSES, side=SIDE),
        {"model.onnx.xz": lzma.compress(model.SerializeToString())},
        [b""] * GOLDEN,
        gray,
        1 / (1 + np.exp(-flat @ weights)),
    )


def build(bundle: Path, trtexec: Path, *options: str) -> int:
    arguments = ["--bundle", str(bundle), "--trtexec", str(trtexec), *options]
    return build_onnx_trt.main(arguments)


def test_it_builds_and_checks(bundle, trtexec, capsys):
    assert build(bundle, trtexec(), "--batch", "4", "--workspace-mb", "100") == 0
    out = bundle.with_name("1795400000.onnx-trt")
    assert sorted(path.name for path in out.iterdir()) == ["engine.json", "model.engine"]
    called = json.loads((out / "model.engine").read_bytes())
    assert called["fp16"] == ""
    assert called["workspace"] == "100"
    assert called["minShapes"] == "image:1x8x8x3"
    assert called["optShapes"] == called["maxShapes"] == "image:4x8x8x3"
    assert called["shapes"] == "image:3x8x8x3"
    info = json.loads((out / "engine.json").read_text())
    assert info["golden_differences"]["tensorrt"]["largest"] < 1e-5
    assert "Throughput: 12.5 qps" in capsys.readouterr().out
    assert build(bundle, trtexec(), "--batch", "2") == 0  # in the same place
    assert not out.with_name(out.name + ".new").exists()


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ("", 0.02, "differ by up to 0.02 from the source's"),
        ("os.kill(os.getpid(), 9)", 0.0, "out of memory: the kernel killed the build"),
        ("sys.exit('&&&& FAILED TensorRT.trtexec')", 0.0, "&&&& FAILED TensorRT.trtexec (log: "),
        ("sys.exit()", 0.0, "trtexec's answers can't be read"),
    ],
)
def test_what_fails_leaves_nothing(bundle, trtexec, change, error, told, capsys):
    assert build(bundle, trtexec(change, error)) == 2
    assert told in capsys.readouterr().err
    left = {path.name for path in bundle.parent.iterdir()}
    assert left == {"1795400000", "1795400000.onnx-trt.log", "trtexec"}


def test_bad_input(bundle, trtexec, capsys, tmp_path):
    assert build(bundle, tmp_path / "none") == 2
    assert "libnvinfer-bin" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build(bundle, trtexec(), "--batch", "0")
    packed = bundle / "model.onnx.xz"
    packed.write_bytes(packed.read_bytes()[:-1])
    assert build(bundle, trtexec()) == 2
    assert "model.onnx.xz was changed" in capsys.readouterr().err
    sign(bundle)
    assert build(bundle, trtexec()) == 2
    assert "can't be unpacked" in capsys.readouterr().err
