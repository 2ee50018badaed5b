"""Builds the bundle's TF-TRT FP16 engine on the device.

    python3 build_trt.py [--bundle DIR] [--out DIR] [--batch 4] [--workspace-mb 256]

The frozen graph becomes a SavedModel of this TensorFlow, and that a TF-TRT one, whose answers to
the golden inputs must be those of the model the bundle comes from. An engine fits only the device
and the TensorRT that it was built with.
"""

import argparse
import json
import os
import shutil
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from remedies import require

require("build_trt", "numpy")
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
from frozen import load_frozen  # noqa: E402

ENGINE_INFO = "engine.json"
SAVED_MODEL = "saved_model"
_LIBRARIES_MB = 1500  # TensorFlow, cuDNN and TensorRT: an estimate, not measured on a TX2
_COPIES = 4  # of the weights at the peak: graph, converter's graph, TensorRT's network, engine
_CHANNELS = 64  # of a wide early layer, at full size


def main(arguments: Optional[List[str]] = None) -> int:
    """Returns the exit code: 0, or 2 with the reason on stderr."""
    options = _parser().parse_args(arguments)
    stop_when_told()
    try:
        if options.into:
            _build(options)
        else:
            _supervise(options)
    except (BuildError, OSError, ValueError) as error:
        # The parent finds the child's reason in the log.
        print(error if options.into else f"build_trt: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("build_trt: interrupted", file=sys.stderr)
        return 130
    return 0


def write_saved_model(frozen: Callable[[Any], Any], image_size: int, folder: str) -> None:
    """Saves a frozen graph with this TensorFlow.

    Its signature serving_default takes `image`, float32 [N, S, S, 3], and gives `probabilities`.
    """
    import tensorflow as tf

    spec = tf.TensorSpec([None, image_size, image_size, 3], tf.float32, name="image")
    module = tf.Module()
    module.predict = tf.function(
        lambda image: {"probabilities": frozen(image)}, input_signature=[spec]
    )
    tf.saved_model.save(module, folder, signatures={"serving_default": module.predict})


def load_saved_model(folder: str) -> Callable[[np.ndarray], np.ndarray]:
    """Pixels float32 [N, S, S, 3], 0-255, to probabilities [N, C]."""
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)

    def predict(pixels: np.ndarray) -> np.ndarray:
        # Uses `loaded`, which must live as long as its function.
        predict_one = loaded.signatures["serving_default"]
        return predict_one(image=tf.constant(pixels))["probabilities"].numpy()

    return predict


def memory_needed(weights_mb: float, workspace_mb: int, batch: int, image_size: int) -> int:
    """Estimated MiB of a build; weights in float32."""
    activations = 2 * batch * image_size**2 * _CHANNELS * 4 / 2**20
    return round(_LIBRARIES_MB + _COPIES * weights_mb + workspace_mb + activations)


def _supervise(options: argparse.Namespace) -> None:
    """Checks, then builds in a process of its own, whose end by the kernel can be told."""
    bundle = open_bundle(options.bundle)
    out = os.path.abspath(options.out or bundle.folder + ".trt")
    require_ours(out, ENGINE_INFO)
    graph = bundle.path("frozen_graph")
    # Half of the weights' bytes are missing where they are stored as int16.
    weights_mb = 2 * os.path.getsize(graph) / 2**20
    needed = memory_needed(
        weights_mb, options.workspace_mb, options.batch, bundle.info["image_size"]
    )
    if not options.ignore_memory:
        require_memory(needed)
    aside, log = out + ".new", out + ".log"
    shutil.rmtree(aside, ignore_errors=True)
    os.makedirs(aside)
    print(f"building {out} (about {needed} MB of memory, log: {log})", flush=True)
    arguments = ["--bundle", bundle.folder, "--into", aside]
    for name in ("batch", "workspace_mb", "minimum_segment_size", "max_difference"):
        arguments += ["--" + name.replace("_", "-"), str(getattr(options, name))]
    # TensorFlow would else take all of the memory that the CPU and the GPU share.
    env = dict(os.environ, TF_FORCE_GPU_ALLOW_GROWTH="true", TF_CPP_MIN_LOG_LEVEL="1")
    try:
        run_build([sys.executable, os.path.abspath(__file__), *arguments], log, env)
        replace_folder(aside, out, ENGINE_INFO)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(f"built {out}")


def _build(options: argparse.Namespace) -> None:
    """The child: writes SavedModel and engine.json into a folder."""
    begin = time.monotonic()
    bundle = open_bundle(options.bundle)
    size, batch = bundle.info["image_size"], options.batch
    golden = read_golden(bundle)
    ends = bundle.info["frozen_graph"]

    def step(number: int, name: str) -> None:
        print(f"[{number}/5] {time.monotonic() - begin:4.0f} s  {name}", flush=True)

    step(1, "frozen graph to a SavedModel of this TensorFlow")
    built = os.path.join(options.into, SAVED_MODEL)
    plain = os.path.join(options.into, "plain")
    converter = _converter(plain, options)
    frozen = load_frozen(bundle.path("frozen_graph"), ends["input"], ends["output"])
    write_saved_model(frozen, size, plain)
    step(2, "its answers to the golden inputs")
    found = {"tensorflow": _checked(plain, *golden, options)}
    step(3, "conversion to TensorRT")
    converter.convert()
    step(4, f"building for {batch} images at once: minutes")
    zeros = np.zeros((batch, size, size, 3), np.float32)
    converter.build(lambda: iter([(zeros,)]))
    converter.save(built)
    shutil.rmtree(plain)
    step(5, "the engine's answers to the golden inputs")
    found["tensorrt"] = _checked(built, *golden, options)
    _write_info(options, bundle, found, time.monotonic() - begin)


def _converter(saved_model: str, options: argparse.Namespace) -> Any:
    """TF 2.7's converter, whose `convert` reads the SavedModel. Raises BuildError without TensorRT.

    https://docs.nvidia.com/deeplearning/frameworks/tf-trt-user-guide/
    """
    from tensorflow.python.compiler.tensorrt import trt_convert

    parameters = trt_convert.TrtConversionParams(
        precision_mode="FP16",
        max_workspace_size_bytes=options.workspace_mb << 20,
        minimum_segment_size=options.minimum_segment_size,
        maximum_cached_engines=1,
    )
    try:
        return trt_convert.TrtGraphConverterV2(
            input_saved_model_dir=saved_model, conversion_params=parameters
        )
    except RuntimeError as error:
        raise BuildError(
            f"this TensorFlow has no TensorRT ({error}): build on the device, with NVIDIA's"
            " TensorFlow 2.7; infer.py runs without TensorRT too"
        ) from error


def _checked(
    saved_model: str, pixels: np.ndarray, expected: np.ndarray, options: argparse.Namespace
) -> Dict[str, float]:
    """Differences on the golden inputs. Raises BuildError if they are too large."""
    predict, batch = load_saved_model(saved_model), options.batch
    black = np.zeros((-len(pixels) % batch, *pixels.shape[1:]), np.float32)
    full = np.concatenate([pixels, black])  # for another batch size, TensorRT would build anew
    parts = [predict(full[i : i + batch]) for i in range(0, len(full), batch)]
    found = differences(np.concatenate(parts)[: len(pixels)], expected)
    check_differences(found, options.max_difference)
    return found


def _write_info(
    options: argparse.Namespace, bundle: Bundle, found: Dict[str, Any], seconds: float
) -> None:
    import tensorflow as tf

    graph = os.path.basename(bundle.path("frozen_graph"))
    info = {
        "bundle_version": bundle.version,
        "frozen_graph_sha256": bundle.sha256[graph],
        "batch": options.batch,
        "precision": "FP16",
        "workspace_mb": options.workspace_mb,
        "minimum_segment_size": options.minimum_segment_size,
        "tensorflow": tf.__version__,
        "golden_differences": found,
        "build_seconds": round(seconds),
    }
    with open(os.path.join(options.into, ENGINE_INFO), "w") as file:
        json.dump(info, file, indent=1, sort_keys=True)
        file.write("\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, ".trt, where infer.py looks for it")
    add = parser.add_argument
    add("--minimum-segment-size", type=int, default=3, help="operations; default 3")
    add("--into", help=argparse.SUPPRESS)  # the child's: where it writes
    return parser


if __name__ == "__main__":
    sys.exit(main())
