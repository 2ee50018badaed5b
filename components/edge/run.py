"""Runs a variant of a bundle in a process of its own, so that no file, however broken, ends or
holds up the pipeline.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from cxrflow.schema.processes import module_command


class VariantError(Exception):
    """A variant doesn't run; the text says why."""


def run_variant(
    bundle: Path,
    key: str,
    pixels: Path,
    done: Callable[[int], None] = lambda count: None,
    wait: float = 600.0,
) -> np.ndarray:
    """What a variant says of the images in a .npy file.

    Args:
        bundle: folder with model.json and the variants.
        key: the variant's, in model.json.
        pixels: uint8 [N, S, S].
        done: gets the number of images so far.
        wait: seconds until the first answer, and from each to the next; then the process is
            killed with all that it started.

    Returns:
        Probabilities, float32 [N, C]; of whatever values the variant gives, NaN where what its
        sigmoids get isn't finite.

    Raises:
        VariantError: the file doesn't load, its output has another shape, its process died, or no
            answer came in time.
    """
    module = "cxrflow.components.edge.runners"
    arguments = [os.path.abspath(bundle), key, os.path.abspath(pixels)]
    with tempfile.TemporaryDirectory() as work_dir, tempfile.TemporaryFile("w+") as stderr:
        out = Path(work_dir, "probabilities.npy")
        process = subprocess.Popen(
            module_command(module, *arguments, str(out)),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # No graphics card: all variants are compared on the processor.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            start_new_session=True,  # so that it can be killed with all that it started
        )
        assert process.stdout  # a pipe
        try:
            said = ""
            for line in _lines(process.stdout, wait):
                if line.strip().isdecimal():
                    done(int(line))
                else:
                    said = line
            returncode = process.wait(wait)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise VariantError(f"no answer within {wait:g} s") from None
        finally:
            _kill(process)
        if out.is_file() and returncode == 0:
            return np.load(out)
        stderr.seek(0)
        raise VariantError(_reason(said, stderr.read(), returncode))


def _lines(stream: IO[str], wait: float) -> Iterator[str]:
    """Lines as they come. Raises TimeoutError if none came for `wait` seconds."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=wait)
        except queue.Empty:
            raise TimeoutError from None
        if line is None:
            return
        yield line


def _kill(process: subprocess.Popen) -> None:
    """Ends a process and what it started, whether or not it ended itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the number of its session's first group
    process.wait()


def _reason(said: str, stderr: str, returncode: int) -> str:
    if said.startswith("{"):
        return json.loads(said)["error"]
    if returncode < 0:
        memory = ": out of memory?" if returncode == -signal.SIGKILL else ""
        return f"its process was killed ({signal.Signals(-returncode).name}){memory}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return (lines or ["its process ended without a word"])[-1]
