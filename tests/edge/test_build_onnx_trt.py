"""build_onnx_trt.py with a trtexec that has one release's options and computes with onnxruntime."""

import json
import lzma
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import build_onnx_trt
from tests.edge.bundles import model_info, sign, variant, write_bundle

SIDE, CLASSES, GOLDEN = 8, ("A", "B"), 3

# What the builds of trtexec say of the options that changed, word for word, and of the others.
WORKSPACE = "  --workspace=N               Set workspace size in MiB.\n"
POOLS = """\
  --memPoolSize=poolspec      Specify the size constraints of the designated memory pool(s) in MiB.
                              Pool constraint: poolspec ::= poolfmt[",\\"poolspec]
"""
FP16 = "  --fp16                      Enable fp16 precision, in addition to fp32\n"
ALWAYS = """\
=== Model Options ===
  --onnx=<file>               ONNX model
=== Build Options ===
  --minShapes=spec            Build with dynamic shapes using a profile with the min shapes provided
  --optShapes=spec            Build with dynamic shapes using a profile with the opt shapes provided
  --maxShapes=spec            Build with dynamic shapes using a profile with the max shapes provided
                              Note: --workspace and --fp16 of other releases may stand here
  --saveEngine=<file>         Save the serialized engine
=== Inference Options ===
  --shapes=spec               Set input shapes for dynamic shapes inference inputs.
  --loadInputs=spec           Load input values from files (default = generate random inputs)
  --exportOutput=<file>       Write the output tensors to a json file (default = disabled)
"""
RELEASES = {
    "8.2": WORKSPACE + FP16,
    "8.6": WORKSPACE + POOLS + FP16,
    "10.3": POOLS + FP16,
    "11.0": POOLS,
}

# Takes the options that its help lists, and no other.
TRTEXEC = """\
#!{python}
import json, os, re, sys
HELP = {help!r}
if sys.argv[1:] == ["--help"]:
    sys.exit(print(HELP))
import numpy as np, onnxruntime
known = re.findall("^  --([a-zA-Z0-9]+)", HELP, re.M)
options = dict((a[2:].split("=", 1) + [""])[:2] for a in sys.argv[1:])
assert not set(options) - set(known), options
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

    def write(change: str = "", error: float = 0.0, release: str = "8.2") -> Path:
        path = tmp_path / "trtexec"
        values = {"python": sys.executable, "change": change, "error": error}
        path.write_text(TRTEXEC.format(help=ALWAYS + RELEASES[release], **values))
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
    ("release", "given", "precision"),
    [
        ("8.2", {"fp16": "", "workspace": "64"}, "FP16"),
        ("8.6", {"fp16": "", "memPoolSize": "workspace:64"}, "FP16"),  # the other is deprecated
        ("10.3", {"fp16": "", "memPoolSize": "workspace:64"}, "FP16"),
        ("11.0", {"memPoolSize": "workspace:64"}, "FP32"),
    ],
)
def test_each_release_gets_the_options_that_it_has(
    bundle, trtexec, release, given, precision, capsys
):
    assert build(bundle, trtexec(release=release), "--workspace-mb", "64") == 0
    out = bundle.with_name("1795400000.onnx-trt")
    called = json.loads((out / "model.engine").read_bytes())
    changing = ("fp16", "workspace", "memPoolSize")
    assert {name: called[name] for name in changing if name in called} == given
    assert json.loads((out / "engine.json").read_text())["precision"] == precision
    assert ("has no --fp16" in capsys.readouterr().out) == (precision == "FP32")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("#!/bin/sh\necho usage: something else", "lists no --exportOutput"),
        (
            "#!/bin/sh\necho libnvinfer.so.8: cannot open >&2; exit 127",
            "libnvinfer.so.8: cannot open",
        ),
        ("#!/nowhere/python", "can't be started: No such file"),
        ("\0", "can't be started: Exec format error"),
        ("#!/bin/sh\nexec sleep 60", "doesn't end"),
    ],
)
def test_what_is_no_trtexec(bundle, tmp_path, script, told, capsys, monkeypatch):
    monkeypatch.setattr(build_onnx_trt, "_HELP_SECONDS", 1)
    path = tmp_path / "trtexec"
    path.write_text(script)
    path.chmod(0o755)
    assert build(bundle, path) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_pillow_isn_t_needed(bundle, trtexec):
    code = (
        "import runpy, sys; sys.modules['PIL'] = None; sys.argv = sys.argv[1:];"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0]);"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    script = str(bundle / "build_onnx_trt.py")
    call = [sys.executable, "-c", code, script, "--trtexec", str(trtexec())]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert bundle.with_name("1795400000.onnx-trt").is_dir()


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


def test_sigterm_ends_trtexec_and_leaves_nothing(bundle, trtexec):
    """`docker stop`: tx2-entry.sh passes its SIGTERM on."""
    program = trtexec("import time; print('busy', os.getpid(), flush=True); time.sleep(60)")
    call = [sys.executable, str(bundle / "build_onnx_trt.py"), "--trtexec", str(program)]
    log = bundle.with_name("1795400000.onnx-trt.log")
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as build:
        while not (log.exists() and "busy" in log.read_text()):
            assert build.poll() is None
            time.sleep(0.05)
        build.terminate()
        said = build.communicate(timeout=60)[1]
    assert (build.returncode, said) == (130, b"build_onnx_trt: interrupted\n")
    assert not Path(f"/proc/{log.read_text().split()[1]}").exists()
    assert {path.name for path in bundle.parent.iterdir()} == {bundle.name, log.name, "trtexec"}
