"""Imports that fail: the true reason, with its remedy where one is known."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import remedies

EDGE = Path(__file__).parents[2] / "edge"
TLS = "/usr/lib/aarch64-linux-gnu/libgomp.so.1: cannot allocate memory in static TLS block"


@pytest.mark.parametrize(
    ("text", "helps"),
    [
        (TLS, "LD_PRELOAD=/usr/lib/aarch64-linux-gnu/libgomp.so.1"),
        (
            "/home/u/scikit_learn.libs/libgomp-d22c30c5.so.1.0.0: cannot allocate memory in static"
            " TLS block",
            "LD_PRELOAD=/home/u/scikit_learn.libs/libgomp-d22c30c5.so.1.0.0",
        ),
        (
            "cannot allocate memory in static TLS block",
            "LD_PRELOAD=/usr/lib/aarch64-linux-gnu/libgomp.so.1",
        ),
        ("Illegal instruction (core dumped)", "OPENBLAS_CORETYPE=ARMV8"),
        ("SIGILL", "numpy==1.19.4"),
        ("clone3: Operation not permitted", "SECCOMP=unconfined"),
        (
            "OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 4: Operation not"
            " permitted",
            "seccomp profile",
        ),
        ("RuntimeError: can't start new thread", "libseccomp2"),
    ],
)
def test_known_failures_have_a_remedy_in_one_line(text, helps):
    assert helps in remedies.remedy(text)
    assert "\n" not in remedies.remedy(text)


@pytest.mark.parametrize(
    "text", ["", "No module named 'numpy'", "Permission denied", "out of memory"]
)
def test_others_have_none(text):
    assert remedies.remedy(text) == ""


@pytest.mark.parametrize(
    ("module", "error", "said"),
    [
        (
            "tflite_runtime.interpreter",
            ModuleNotFoundError("No module named 'tflite_runtime'", name="tflite_runtime"),
            "tflite_runtime isn't installed",
        ),
        (  # it is there, and lacks another
            "tensorflow",
            ModuleNotFoundError("No module named 'flatbuffers'", name="flatbuffers"),
            "tensorflow can't be imported: No module named 'flatbuffers'",
        ),
        (
            "tensorflow",
            ImportError(TLS),
            f"tensorflow can't be imported: {TLS}; start Python with"
            " LD_PRELOAD=/usr/lib/aarch64-linux-gnu/libgomp.so.1",
        ),
        (
            "numpy",
            ImportError("\n\nIMPORTANT: PLEASE READ THIS\n\nOriginal error was: libcblas.so.3\n"),
            "numpy can't be imported: Original error was: libcblas.so.3",
        ),
        ("numpy", ImportError(), "numpy can't be imported: it says nothing"),
    ],
)
def test_explain(module, error, said):
    assert remedies.explain(module, error) == said


@pytest.fixture
def broken(tmp_path):
    """Puts a module of this code before the real one, and runs a script of ours."""

    def run(module: str, code: str, script: str, machine: str = "", **env: str):
        (tmp_path / f"{module}.py").write_text(code)
        lie = f"import platform; platform.machine = lambda: {machine!r}" if machine else ""
        (tmp_path / "sitecustomize.py").write_text(lie)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), **env}
        call = [sys.executable, str(EDGE / script), "--help"]
        return subprocess.run(call, capture_output=True, text=True, env=environment)

    return run


@pytest.mark.parametrize("script", ["infer.py", "build_trt.py", "build_onnx_trt.py"])
def test_scripts_say_why_numpy_fails(broken, script):
    done = broken("numpy", f"raise ImportError({TLS!r})", script)
    name = script[:-3]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{name}: numpy can't be imported: {TLS}; start Python with LD_")
    assert len(done.stderr.splitlines()) == 1


def test_without_pillow(broken):
    done = broken(
        "PIL", "raise ModuleNotFoundError(\"No module named 'PIL'\", name='PIL')", "infer.py"
    )
    assert (done.returncode, done.stderr) == (2, "infer: PIL isn't installed\n")


ILLEGAL = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


def test_an_import_that_ends_the_process_is_tried_in_a_child(broken):
    done = broken("numpy", ILLEGAL, "infer.py", machine="aarch64", OPENBLAS_CORETYPE="")
    assert done.returncode == -4  # OPENBLAS_CORETYPE is set, so nothing is tried
    os.environ.pop("OPENBLAS_CORETYPE", None)
    done = broken("numpy", ILLEGAL, "infer.py", machine="aarch64")
    assert done.returncode == 2
    assert done.stderr == (
        "infer: import numpy crashes with SIGILL; NumPy 1.19.5's OpenBLAS takes a TX2's processor"
        " for another: set OPENBLAS_CORETYPE=ARMV8, or install numpy==1.19.4\n"
    )


def test_threads_that_docker_forbids(broken):
    code = (
        "import sys; print('OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 4:"
        " Operation not permitted', file=sys.stderr); sys.exit(1)"
    )
    done = broken("numpy", code, "infer.py", machine="aarch64")
    assert done.returncode == 2
    assert "SECCOMP=unconfined bash tx2-up.sh" in done.stderr
    assert len(done.stderr.splitlines()) == 1
