"""Runs a variant of a bundle, so that no file, however broken, ends the pipeline."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from components.edge_evaluate.runners import first_line, read_model_json, run_all

_REPO = Path(__file__).parents[2]


class VariantError(Exception):
    """A variant doesn't run; the text says why."""


def run_variant(
    bundle: Path, key: str, pixels: Path, done: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """What a variant says of the images in a .npy file.

    LiteRT and ONNX Runtime run in a process of their own: a broken file can take it down.
    TensorFlow raises, and would take ten seconds to import once more.

    Args:
        bundle: folder with model.json and the variants.
        key: the variant's, in model.json.
        pixels: uint8 [N, S, S].
        done: gets the number of images so far.

    Returns:
        Probabilities, float32 [N, C]; of whatever values the variant gives.

    Raises:
        VariantError: the file doesn't load, its output has another shape, or its process died.
    """
    if read_model_json(bundle)["variants"][key]["runtime"] != "tensorflow":
        return _run_apart(bundle, key, pixels, done)
    import tensorflow as tf

    try:
        with tf.device("/CPU:0"):
            return run_all(bundle, key, np.load(pixels, mmap_mode="r"), done)
    except Exception as error:  # whatever TensorFlow raises, it is the variant's fault
        raise VariantError(first_line(error)) from error


def _run_apart(bundle: Path, key: str, pixels: Path, done: Callable[[int], None]) -> np.ndarray:
    module = "components.edge_evaluate.runners"
    arguments = [module, os.path.abspath(bundle), key, os.path.abspath(pixels)]
    with tempfile.TemporaryDirectory() as work_dir, tempfile.TemporaryFile("w+") as stderr:
        out = Path(work_dir, "probabilities.npy")
        with subprocess.Popen(
            [sys.executable, "-m", *arguments, str(out)],
            cwd=_REPO,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process:
            assert process.stdout
            said = ""
            for line in process.stdout:
                if line.strip().isdecimal():
                    done(int(line))
                else:
                    said = line
        if out.is_file() and process.returncode == 0:
            return np.load(out)
        stderr.seek(0)
        raise VariantError(_reason(said, stderr.read(), process.returncode))


def _reason(said: str, stderr: str, returncode: int) -> str:
    if said.startswith("{"):
        return json.loads(said)["error"]
    if returncode < 0:
        memory = ": out of memory?" if returncode == -signal.SIGKILL else ""
        return f"its process was killed ({signal.Signals(-returncode).name}){memory}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return (lines or ["its process ended without a word"])[-1]
