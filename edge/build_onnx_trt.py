"""Builds an engine from the bundle's ONNX model with NVIDIA's trtexec, without TensorFlow.

    python3 build_onnx_trt.py [--bundle DIR] [--out DIR] [--batch 4] [--workspace-mb 256]

DIR gets model.engine, for programs of your own with TensorRT, and engine.json, which says how far
its answers to the golden inputs are from the source's. infer.py doesn't use it: see build_trt.py.
Every TensorRT from 8.2 on will do; to 10 the engine computes in FP16, from 11 on in float32. Needs
NumPy only.
"""

import argparse
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from typing import Dict, List, Optional, Set

from remedies import require

require("build_onnx_trt", "numpy")
import numpy as np  # noqa: E402

from building import (  # noqa: E402
    BuildError,
    add_options,
    check_differences,
    differences,
    read_golden,
    replace_folder,
    require_memory,
    require_ours,
    run_build,
    stop_when_told,
)
from bundle import Bundle, open_bundle  # noqa: E402

ENGINE, ENGINE_INFO = "model.engine", "engine.json"
INPUT, OUTPUT = "image", "probabilities"  # of the ONNX model, float32 [N, S, S, 3] and [N, C]
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"  # where JetPack has it
_NEEDED = {
    *("onnx", "saveEngine", "minShapes", "optShapes", "maxShapes", "shapes"),
    *("loadInputs", "exportOutput"),
}  # options of trtexec that all releases have
_HELP_SECONDS = 120  # the first start of a trtexec loads CUDA from a slow disk
_NO_FP16 = (
    "this TensorRT (11 or later) has no --fp16 and takes the ONNX model's own types: the engine"
    " computes in float32"
)
_LIBRARIES_MB = 1000  # CUDA, cuDNN and TensorRT: an estimate, not measured on a TX2


def main(arguments: Optional[List[str]] = None) -> int:
    """Returns the exit code: 0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, ".onnx-trt")
    parser.add_argument("--trtexec", help="default: the one of PATH or of JetPack, " + TRTEXEC)
    options = parser.parse_args(arguments)
    stop_when_told()
    try:
        _build(options)
    except (BuildError, OSError, ValueError) as error:
        print(f"build_onnx_trt: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("build_onnx_trt: interrupted", file=sys.stderr)
        return 130
    return 0


def options_of(trtexec: str) -> Set[str]:
    """The options that a trtexec has, "fp16" for --fp16, from its --help.

    Raises BuildError if it can't be started or is something else.
    """
    call = [trtexec, "--help"]
    try:
        child = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = child.communicate(timeout=_HELP_SECONDS)[0].decode("utf-8", "replace")
    except OSError as error:
        raise BuildError(f"{trtexec} can't be started: {error.strerror or error}") from error
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise BuildError(f"{trtexec} --help doesn't end: is it TensorRT's?") from None
    known = set(re.findall(r"^\s*--(\w+)", text, re.MULTILINE))
    missing = sorted(_NEEDED - known)
    if missing:
        last = text.strip().splitlines()[-1:] or ["it said nothing"]
        raise BuildError(
            f"{trtexec} --help lists no --{missing[0]}, which TensorRT's has from 8 on: {last[0]}"
        )
    return known


def command(
    trtexec: str,
    known: Set[str],
    folder: str,
    size: int,
    batch: int,
    golden: int,
    workspace_mb: int,
) -> List[str]:
    """The call of trtexec, whose run answers the golden inputs.

    Args:
        trtexec: the program.
        known: its options. `memPoolSize` came with TensorRT 8.4, `workspace` went with 10, `fp16`
            with 11, whose engines compute in the model's own types.
        folder: holds model.onnx and golden.bin, and gets model.engine and answers.json.
        size: of the images, pixels.
        batch: images at once, at most.
        golden: images in golden.bin, at most `batch`.
        workspace_mb: MiB for TensorRT's choice of kernels.
    """

    def shape(images: int) -> str:
        return f"{INPUT}:{images}x{size}x{size}x3"

    choices = []  # type: List[str]
    if "fp16" in known:
        choices.append("--fp16")
    if "memPoolSize" in known:
        choices.append(f"--memPoolSize=workspace:{workspace_mb}")
    elif "workspace" in known:
        choices.append(f"--workspace={workspace_mb}")
    return [
        trtexec,
        "--onnx=" + os.path.join(folder, "model.onnx"),
        "--saveEngine=" + os.path.join(folder, ENGINE),
        *choices,
        "--minShapes=" + shape(1),
        "--optShapes=" + shape(batch),
        "--maxShapes=" + shape(batch),
        "--shapes=" + shape(golden),
        f"--loadInputs={INPUT}:" + os.path.join(folder, "golden.bin"),
        "--exportOutput=" + os.path.join(folder, "answers.json"),
    ]


def _build(options: argparse.Namespace) -> None:
    bundle = open_bundle(options.bundle)
    out = os.path.abspath(options.out or bundle.folder + ".onnx-trt")
    require_ours(out, ENGINE_INFO)
    trtexec = _find(options.trtexec)
    known = options_of(trtexec)
    precision = "FP16" if "fp16" in known else "FP32"
    model = _read_model(bundle.path("onnx"))
    needed = round(_LIBRARIES_MB + 4 * len(model) / 2**20 + options.workspace_mb)
    if not options.ignore_memory:
        require_memory(needed)
    pixels, expected = read_golden(bundle)
    pixels, expected = pixels[: options.batch], expected[: options.batch]
    aside, log = out + ".new", out + ".log"
    shutil.rmtree(aside, ignore_errors=True)
    os.makedirs(aside)
    try:
        with open(os.path.join(aside, "model.onnx"), "wb") as file:
            file.write(model)
        pixels.tofile(os.path.join(aside, "golden.bin"))
        size = bundle.info["image_size"]
        call = command(
            trtexec, known, aside, size, options.batch, len(pixels), options.workspace_mb
        )
        print(f"building {out} (about {needed} MB of memory, log: {log})", flush=True)
        if precision == "FP32":
            print(f"  note: {_NO_FP16}", flush=True)
        run_build(call, log, quiet=True)
        _print_speed(log)
        found = differences(_answers(aside, expected.shape), expected)
        check_differences(found, options.max_difference)
        for name in ("model.onnx", "golden.bin", "answers.json"):
            os.remove(os.path.join(aside, name))
        _write_info(aside, bundle, options, precision, found)
        replace_folder(aside, out, ENGINE_INFO)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(f"built {os.path.join(out, ENGINE)}")


def _find(wanted: Optional[str]) -> str:
    """The path of trtexec. Raises BuildError without one."""
    found = shutil.which(wanted) if wanted else shutil.which("trtexec") or shutil.which(TRTEXEC)
    if not found:
        raise BuildError(
            f"there is no {wanted or TRTEXEC}: build on the device, where JetPack has it in the"
            " package libnvinfer-bin, or name one with --trtexec"
        )
    return found


def _read_model(path: str) -> bytes:
    """The ONNX model of a .onnx or .onnx.xz file. Raises BuildError if it is damaged."""
    with open(path, "rb") as file:
        content = file.read()
    if not path.endswith(".xz"):
        return content
    try:
        return lzma.decompress(content)
    except lzma.LZMAError as error:
        raise BuildError(f"{path} can't be unpacked: {error}") from error


def _print_speed(log: str) -> None:
    """trtexec's own figures."""
    with open(log, errors="replace") as file:
        for line in file:
            if re.search(r"\] (Throughput|Latency):", line):
                print("  " + line.split("] ")[-1].strip())


def _answers(folder: str, shape: tuple) -> np.ndarray:
    """What trtexec's run put out. Raises BuildError if it isn't of this shape."""
    path = os.path.join(folder, "answers.json")
    try:
        with open(path) as file:
            tensors = {one["name"]: one["values"] for one in json.load(file)}
        return np.array(tensors[OUTPUT], np.float32).reshape(shape)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BuildError(f"trtexec's answers can't be read: {error!r}") from error


def _write_info(
    folder: str,
    bundle: Bundle,
    options: argparse.Namespace,
    precision: str,
    found: Dict[str, float],
) -> None:
    info = {
        "bundle_version": bundle.version,
        "onnx_sha256": bundle.sha256[os.path.basename(bundle.path("onnx"))],
        "batch": options.batch,
        "precision": precision,
        "workspace_mb": options.workspace_mb,
        "golden_differences": {"tensorrt": found},
    }
    with open(os.path.join(folder, ENGINE_INFO), "w") as file:
        json.dump(info, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
