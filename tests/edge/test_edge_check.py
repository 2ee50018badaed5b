"""What --check lets pass: a variant's own answers and nothing else."""

import importlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.edge.bundles import sign

checks = importlib.import_module("check")  # the device's scripts: see conftest.py
bundles = importlib.import_module("bundle")
engines = importlib.import_module("engines")

OWN = np.array([[0.1, 0.5], [0.7, 0.5], [0.3, 0.2]])
NAMES = ["0.png", "1.png", "2.png"]
NEAR = OWN + [[0.008, 0.0]] * 3  # another variant's, within a wide tolerance


def golden(levels: int = 0, **answers: np.ndarray) -> "checks.Golden":
    return checks.Golden(NAMES, np.zeros((3, 4, 4), np.uint8), levels, {"int8": OWN, **answers})


@pytest.mark.parametrize(
    ("found", "tolerance", "said"),
    [
        (OWN, 0.001, []),
        (OWN + 0.0009, 0.001, []),
        (OWN + 0.002, 0.001, ["a probability differs by 0.002"]),
        (OWN * np.nan, 0.5, ["an answer isn't a number"]),
        # However much is allowed:
        (OWN[[0, 0, 0]], 0.9, ["the answer to 1.png is 0.png's", "the answer to 2.png is 0.png's"]),
        (OWN[[1, 0, 2]], 0.9, ["the answer to 0.png is 1.png's", "the answer to 1.png is 0.png's"]),
        (NEAR, 0.05, ["the answers are those of dynamic"]),
    ],
)
def test_only_a_variants_own_answers_pass(found, tolerance, said) -> None:
    assert checks.problems(golden(dynamic=NEAR), "int8", found, tolerance) == said


@pytest.mark.parametrize("constant", [0.0, 0.3, 0.5, 1.0])
def test_no_constant_passes(constant: float) -> None:
    wrong = checks.problems(golden(), "int8", np.full((3, 2), constant), 1.0)
    assert len(wrong) >= 2


def test_float_variants_that_answer_alike_are_not_told_apart() -> None:
    same = golden(fp16=OWN + 0.0005)
    assert checks.problems(same, "int8", OWN + 0.0004, 0.001) == []


def test_an_engine_built_here_answers_as_its_graph_does() -> None:
    some = golden(frozen_graph=OWN, litert_fp32=OWN + 0.004)
    assert checks.problems(some, engines.TRT, OWN + 0.003, 0.01) == []
    assert checks.problems(some, engines.TRT, OWN + 0.02, 0.01)


def test_pixels_count_too() -> None:
    assert checks.problems(golden(levels=1), "int8", OWN, 0.001) == []
    assert checks.problems(golden(levels=2), "int8", OWN, 0.001) == [
        "pixels differ by 2 gray levels"
    ]


def test_answers_that_are_not_there_are_refused() -> None:
    with pytest.raises(bundles.Refused, match="no golden answers by onnx"):
        checks.problems(golden(), "onnx", OWN, 0.001)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([OWN, OWN], 0),
        ([OWN, "refused"], 0),
        ([OWN, OWN[::-1]], 1),
        ([OWN, "unfit"], 1),
        (["refused", "refused"], None),
    ],
)
def test_every_variant_that_can_run_is_checked(outcomes, code, monkeypatch) -> None:
    monkeypatch.setattr(checks, "read_golden", lambda bundle: golden(a=OWN, b=OWN))
    said: list[str] = []
    by_name = dict(zip("ab", outcomes, strict=True))

    def open_engine(name: str):
        found = by_name[name]
        if isinstance(found, str):
            raise (bundles.Unfit if found == "unfit" else bundles.Refused)("no such runtime")
        return SimpleNamespace(variant=name, tolerance=0.001, run=lambda pixels: found)

    def run() -> int:
        bundle = SimpleNamespace(info={"golden_note": "two are alike"})
        return checks.check(bundle, ["a", "b"], open_engine, None, said.append)

    if code is None:
        with pytest.raises(bundles.Refused, match="a: no such runtime; b: no such runtime"):
            run()
        return
    assert run() == code
    assert said[0] == "note: two are alike"
    assert said[1].startswith("a: 3 golden images: ") and said[1].endswith(": passed")
    last = {0: "passed", 1: "FAILED"}[code] if not isinstance(outcomes[1], str) else "runtime"
    assert said[2].endswith(last)


def spoil(bundle: Path, folder: Path, **files: bytes) -> Path:
    shutil.copytree(bundle, folder)
    for name, content in files.items():
        (folder / f"{name}.tflite").write_bytes(content)
    sign(folder)
    return folder


def constant_litert() -> bytes:
    import tensorflow as tf

    spec = tf.TensorSpec([1, 32, 32, 3], tf.float32, "image")
    function = tf.function(
        lambda image: tf.sigmoid(tf.reduce_mean(image * 0.0, [1, 2])), input_signature=[spec]
    )
    concrete = function.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()


@pytest.mark.tf
def test_a_file_that_was_swapped_or_says_the_same_always_fails(bundle, infer, tmp_path) -> None:
    done = infer("--check", timeout=250)  # it imports TensorFlow
    assert done.returncode == 0, done.stdout + done.stderr
    assert "litert_fp32: 3 golden images" in done.stdout
    assert "frozen_graph: 3 golden images" in done.stdout
    assert "not checked: onnx" in done.stdout or "onnx: " in done.stdout

    same = spoil(bundle, tmp_path / "constant", model_fp32=constant_litert())
    done = infer("--check", "--bundle", same, "--variant", "litert_fp32", "--tolerance", 1)
    assert done.returncode == 1 and "'s; FAILED" in done.stdout

    info = json.loads((bundle / "model.json").read_text())
    info["variants"]["litert_fp32"]["input_dtype"] = "uint8"
    other = spoil(bundle, tmp_path / "dtype")
    (other / "model.json").write_text(json.dumps(info))
    sign(other)
    done = infer("--check", "--bundle", other, "--variant", "litert_fp32")
    assert done.returncode == 1 and "doesn't fit model.json" in done.stdout


@pytest.mark.tf
def test_older_bundles_run_and_newer_ones_are_refused(bundle, infer, folder, tmp_path) -> None:
    info = json.loads((bundle / "model.json").read_text())
    for version in (None, 3):
        other = spoil(bundle, tmp_path / str(version))
        info["bundle_format"] = version
        if version is None:
            del info["bundle_format"]
        (other / "model.json").write_text(json.dumps(info))
        sign(other)
        check = infer("--check", "--bundle", other)
        run = infer(folder, "--bundle", other, "--out", tmp_path / "out", "--engine", "litert")
        assert check.returncode == 2 and len(check.stderr.splitlines()) == 1
        if version is None:
            assert "format 1" in check.stderr and run.returncode == 0, run.stderr
        else:
            assert "of format 3, these scripts read 2" in check.stderr
            assert run.returncode == 2 and run.stderr == check.stderr


_NAMES, _PIXELS = np.array(["0.png"]), np.zeros((1, 32, 32), np.uint8)
_ANSWERS = np.full((1, 2), 0.5, np.float32)


@pytest.mark.parametrize(
    "arrays",
    [
        {"names": _NAMES, "pixels": _PIXELS, "answers_a": _ANSWERS * np.nan},
        {"names": _NAMES, "pixels": _PIXELS, "answers_a": _ANSWERS.astype(str)},
        {"names": _NAMES, "pixels": _PIXELS, "answers_a": _ANSWERS[:, :1]},
        {"names": _NAMES, "pixels": _PIXELS[:, :16], "answers_a": _ANSWERS},
        {"names": _NAMES[0], "pixels": _PIXELS, "answers_a": _ANSWERS},
        {"names": np.array(["../0.png"]), "pixels": _PIXELS, "answers_a": _ANSWERS},
        {"pixels": _PIXELS},
        b"no archive",
        b"",
        b"PK\x03\x04 cut short",
        _ANSWERS,
    ],
)
def test_golden_answers_that_cannot_be_right_are_refused(arrays, tmp_path) -> None:
    (tmp_path / "golden").mkdir()
    with (tmp_path / "golden" / "golden.npz").open("wb") as file:
        if isinstance(arrays, bytes):
            file.write(arrays)
        elif isinstance(arrays, dict):
            np.savez(file, **arrays)
        else:
            np.save(file, arrays)
    bundle = SimpleNamespace(
        format=2,
        folder=str(tmp_path),
        info={"classes": ["a", "b"]},
        preprocessing=SimpleNamespace(image_size=32),
    )
    with pytest.raises(bundles.Refused, match=r"golden\.npz can't be read: "):
        checks.read_golden(bundle)
