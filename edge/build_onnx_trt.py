"""Builds an FP16 engine from the bundle's ONNX model with NVIDIA's trtexec, without TensorFlow.

    python3 build_onnx_trt.py [--bundle DIR] [--out DIR] [--batch 4] [--workspace-mb 256]

DIR gets model.engine, for programs of your own with TensorRT, and engine.json, which says how far
its answers to the golden inputs are from the source's. infer.py doesn't use it: see build_trt.py.
"""

import argparse
import json
import lzma
import os
import re
import shutil
import sys
from typing import Dict, List, Optional

import numpy as np

from building import (
    BuildError,
    add_options,
    check_differences,
    differences,
    read_golden,
    replace_folder,
    require_memory,
    require_ours,
    run_build,
)
from bundle import Bundle, open_bundle

ENGINE, ENGINE_INFO = "model.engine", "engine.json"
INPUT, OUTPUT = "image", "probabilities"  # of the ONNX model, float32 [N, S, S, 3] and [N, C]
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"  # where JetPack has it
_LIBRARIES_MB = 1000  # CUDA, cuDNN and TensorRT: an estimate, not measured on a TX2


def main(arguments: Optional[List[str]] = None) -> int:
    """Returns the exit code: 0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, ".onnx-trt")
    parser.add_argument("--trtexec", help="default: the one of PATH or of JetPack, " + TRTEXEC)
    options = parser.parse_args(arguments)
    try:
        _build(options)
    except (BuildError, OSError, ValueError) as error:
        print(f"build_onnx_trt: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("build_onnx_trt: interrupted", file=sys.stderr)
        return 130
    return 0


def command(
    trtexec: str, folder: str, size: int, batch: int, golden: int, workspace_mb: int
) -> List[str]:
    """The call of TensorRT 8.2's trtexec, whose run answers the golden inputs.

    Args:
        trtexec: the program.
        folder: holds model.onnx and golden.bin, and gets model.engine and answers.json.
        size: of the images, pixels.
        batch: images at once, at most.
        golden: images in golden.bin, at most `batch`.
        workspace_mb: MiB for TensorRT's choice of kernels.
    """

    def shape(images: int) -> str:
        return f"{INPUT}:{images}x{size}x{size}x3"

    return [
        trtexec,
        "--onnx=" + os.path.join(folder, "model.onnx"),
        "--saveEngine=" + os.path.join(folder, ENGINE),
        "--fp16",
        f"--workspace={workspace_mb}",
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
        call = command(trtexec, aside, size, options.batch, len(pixels), options.workspace_mb)
        print(f"building {out} (about {needed} MB of memory, log: {log})", flush=True)
        run_build(call, log, quiet=True)
        _print_speed(log)
        found = differences(_answers(aside, expected.shape), expected)
        check_differences(found, options.max_difference)
        for name in ("model.onnx", "golden.bin", "answers.json"):
            os.remove(os.path.join(aside, name))
        _write_info(aside, bundle, options, found)
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
    folder: str, bundle: Bundle, options: argparse.Namespace, found: Dict[str, float]
) -> None:
    info = {
        "bundle_version": bundle.version,
        "onnx_sha256": bundle.sha256[os.path.basename(bundle.path("onnx"))],
        "batch": options.batch,
        "precision": "FP16",
        "workspace_mb": options.workspace_mb,
        "golden_differences": {"tensorrt": found},
    }
    with open(os.path.join(folder, ENGINE_INFO), "w") as file:
        json.dump(info, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
