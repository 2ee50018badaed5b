"""Variants of a tiny model's bundle, whole and broken, against the model itself."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrflow.components.edge.export.settings import EdgeConfig
from cxrflow.components.edge.parity.report import read_report
from cxrflow.components.edge.run import VariantError, _reason, run_variant
from cxrflow.schema.errors import CxrflowError
from tests.support.processes import wait_until_ended

pytestmark = pytest.mark.tf

KEYS = ["litert_fp32", "litert_fp16", "litert_dynamic", "litert_int8", "frozen_graph", "onnx"]
CONFIG = EdgeConfig(draws=20, max_auc_loss=0.05, max_class_decision_change=0.1)


def evaluate(made, bundle: Path, config: EdgeConfig = CONFIG):
    from cxrflow.components.edge.parity import evaluate

    files = [str(path) for path in made.examples.glob("Split-eval/*")]
    return evaluate.evaluate(bundle, made.saved_model, files, config)


@pytest.fixture(scope="module")
def good(made):
    return evaluate(made, made.bundle)


@pytest.fixture(scope="module")
def broken_bundle(made, other_litert, tmp_path_factory) -> Path:
    """Its variants are each broken in another way, but for the ONNX model."""
    bundle = tmp_path_factory.mktemp("broken") / "bundle"
    shutil.copytree(made.bundle, bundle)
    (bundle / "model_fp32.tflite").write_bytes(other_litert(bias=float("nan")))
    (bundle / "model_fp16.tflite").write_bytes(other_litert(bias=0.1))
    (bundle / "model_dynamic.tflite").write_bytes(other_litert(classes=4))
    (bundle / "model_int8.tflite").write_bytes(b"this is no model" * 9)
    (bundle / "frozen_graph.pb").write_bytes(b"no graph")
    return bundle


@pytest.fixture(scope="module")
def broken(made, broken_bundle):
    return evaluate(made, broken_bundle)


def test_a_whole_bundle_is_blessed(made, good):
    assert good.blessed == KEYS
    assert good.line == "edge bundle: 6 of 6 variants blessed (synthetic X-rays)"
    assert (good.model, good.images, good.patients, good.draws) == ("tiny", 60, 30, 20)
    assert good.positives == dict(
        zip(["Bright", "Striped", "Absent"], made.labels.sum(axis=0).astype(int), strict=True)
    )
    for key in ("litert_fp32", "frozen_graph", "onnx"):
        assert 0 <= good.variants[key].max_difference < 1e-5
    assert 1e-5 < good.variants["litert_fp16"].max_difference < 1e-3
    int8 = good.variants["litert_int8"]
    assert 0.01 < int8.max_difference < 0.1  # a float variant wouldn't pass with it
    assert int8.classes["Absent"].auc is None
    low, high = int8.classes["Striped"].interval
    assert low <= int8.classes["Striped"].difference <= high
    assert int8.bytes == (made.bundle / "model_int8.tflite").stat().st_size


def test_decisions_of_every_variant_are_told(good):
    for key in KEYS:
        variant = good.variants[key]
        assert variant.points.keys() == {"youden", "sensitivity"}
        for point in variant.points.values():
            assert point.classes.keys() == {"Bright", "Striped"}
            assert point.total.decisions == 120 and point.images == 60
            assert point.total.changed == sum(one.changed for one in point.classes.values())
        assert (variant.max_decision_change is None) == (variant.kind == "float")
    assert good.variants["litert_fp32"].decision_change == 0
    assert good.decision_folds == CONFIG.decision_folds


def test_what_runs_is_what_the_file_says(made):
    """The figures above come from the variants' own answers, image by image."""
    answers = run_variant(made.bundle, "litert_int8", made.pixels)
    assert answers.shape == (60, 3) and answers.dtype == np.float32
    apart = np.abs(answers - made.probabilities)
    assert 0.01 < apart.max() < 0.1
    counts = []
    run_variant(made.bundle, "frozen_graph", made.pixels, counts.append)
    assert counts == list(range(1, 61))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("litert_fp32", "60 of 60 answers aren't finite"),
        ("litert_fp16", r"a probability 0\.02\d* from its source's, 0\.001 allowed"),
        ("litert_dynamic", r"it doesn't run: its output is \[1, 4\], not \[1, 3\]"),
        ("litert_int8", "it doesn't run: .*not a valid Flatbuffer"),
        ("frozen_graph", "it doesn't run: .* is no TensorFlow graph"),
    ],
)
def test_each_broken_variant_says_why(broken, key, reason):
    (said,) = broken.variants[key].reasons
    assert re.match(reason, said)
    assert f"{key} not: {said}" in broken.line


def test_broken_variants_do_not_hold_up_the_others(broken):
    assert broken.blessed == ["onnx"]
    assert broken.variants["onnx"].mean.difference == 0


def test_only_what_is_blessed_ships(broken_bundle, broken, tmp_path):
    from cxrflow.components.edge.parity.evaluate import write_bundle

    write_bundle(broken_bundle, broken, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "golden",
        "infer.py",
        "model.json",
        "model.onnx.xz",
        "parity_report.json",
        "tx2-up.sh",
    ]
    assert (tmp_path / "golden" / "0.png").read_bytes() == b"a golden image"
    assert os.access(tmp_path / "tx2-up.sh", os.X_OK)
    assert read_report(tmp_path) == broken
    info = json.loads((tmp_path / "model.json").read_text())
    before = json.loads((broken_bundle / "model.json").read_text())
    assert "frozen_graph" not in info
    assert info["variants"].keys() == {"onnx"}
    found = info["variants"]["onnx"]
    assert found.items() > before["variants"]["onnx"].items()
    assert found["max_difference"] == broken.variants["onnx"].max_difference
    assert found["mean_difference"] == broken.variants["onnx"].mean_difference
    assert found["mean_auc_loss"] == 0
    assert info["classes"] == before["classes"]


def test_a_whole_bundle_ships_whole(made, good, tmp_path):
    from cxrflow.components.edge.parity.evaluate import write_bundle

    write_bundle(made.bundle, good, tmp_path)
    names = {path.name for path in made.bundle.iterdir()} | {"parity_report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    info = json.loads((tmp_path / "model.json").read_text())
    assert list(info["variants"]) == KEYS and "frozen_graph" in info


@pytest.mark.parametrize(
    ("dtype", "pattern"),
    [("uint8", "its input is float32, not uint8"), ("float64", "its input is float32, not float")],
)
def test_an_input_of_another_dtype_is_refused(made, tmp_path, dtype, pattern):
    info = json.loads((made.bundle / "model.json").read_text())
    info["variants"]["litert_fp32"]["input_dtype"] = dtype
    (tmp_path / "model.json").write_text(json.dumps(info))
    shutil.copy(made.bundle / "model_fp32.tflite", tmp_path)
    with pytest.raises(VariantError, match=pattern):
        run_variant(tmp_path, "litert_fp32", made.pixels)


def test_a_variant_that_takes_its_process_down_is_told(made, tmp_path, monkeypatch):
    runs(tmp_path, monkeypatch, "echo 1\nkill -SEGV $$")
    with pytest.raises(VariantError, match=r"its process was killed \(SIGSEGV\)"):
        run_variant(made.bundle, "litert_fp32", made.pixels)


def runs(tmp_path, monkeypatch, script: str) -> None:
    """What runs in place of the runner's Python."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize("script", ["", "echo 1; echo 2;", "exec >&-;"])
def test_a_variant_that_hangs_is_killed_with_all_it_started(made, tmp_path, monkeypatch, script):
    pids = tmp_path / "pids"
    waiting = f"{script} sleep 1000 & echo $! >{pids}; echo $$ >>{pids}; sleep 1000"
    runs(tmp_path, monkeypatch, waiting)
    counts, begin = [], subprocess.Popen

    def begun(*args, **options):
        """Returns once the script has written its lines, and `wait` counts from there."""
        process = begin(*args, **options)
        while not pids.exists() or pids.read_text().count("\n") < 2:
            assert process.poll() is None
            time.sleep(0.01)
        return process

    monkeypatch.setattr(subprocess, "Popen", begun)
    with pytest.raises(VariantError, match=r"^no answer within 0\.5 s$"):
        run_variant(made.bundle, "litert_fp32", made.pixels, counts.append, wait=0.5)
    assert counts == ([1, 2] if "echo" in script else [])
    started = [int(pid) for pid in pids.read_text().split()]
    wait_until_ended(started)  # killed, and on a busy machine not yet gone


def test_a_variant_that_hangs_does_not_hold_up_the_others(made, tmp_path, monkeypatch):
    whole = Path(sys.executable)
    runs(tmp_path, monkeypatch, f'case "$*" in *litert_fp16*) sleep 1000;; esac; exec {whole} "$@"')
    bundle = tmp_path / "bundle"
    shutil.copytree(made.bundle, bundle)
    info = json.loads((bundle / "model.json").read_text())
    keys = ("litert_fp16", "onnx", "litert_fp32")
    info["variants"] = {key: info["variants"][key] for key in keys}
    info["variants"]["onnx"]["broken"] = "its process was killed (SIGSEGV)"
    (bundle / "model.json").write_text(json.dumps(info))
    waits = []

    def run(bundle: Path, key: str, *more: object):
        """Waits for what hangs no longer than it has to; the others take as long as they take."""
        *others, wait = more
        waits.append(wait)
        return run_variant(bundle, key, *others, 0.5 if key == "litert_fp16" else wait)

    monkeypatch.setattr("cxrflow.components.edge.parity.evaluate.run_variant", run)
    found = evaluate(made, bundle, replace(CONFIG, answer_seconds=45))
    assert waits == [45, 45]
    assert found.variants["litert_fp16"].reasons == ("it doesn't run: no answer within 0.5 s",)
    assert found.variants["onnx"].reasons == (
        "it didn't run at the export: its process was killed (SIGSEGV)",
    )
    assert found.blessed == ["litert_fp32"]


def with_infinite_biases(model: bytes) -> bytes:
    """A LiteRT file; the converter would fold them away, and the sigmoid with them."""
    from cxrflow.components.edge.export.flatbuffer import put, read, write

    parsed = read(model)
    graph = parsed.subgraphs[0]
    (sigmoid,) = [one for one in graph.operators if list(one.outputs) == list(graph.outputs)]
    (dense,) = [one for one in graph.operators if list(one.outputs) == list(sigmoid.inputs)]
    bias = graph.tensors[dense.inputs[-1]]
    put(parsed, bias, np.full(bias.shape, np.inf, np.float32))
    return write(parsed)


@pytest.mark.parametrize("key", ["litert_fp32", "frozen_graph", "onnx"])
def test_infinite_log_odds_are_no_answers_although_their_sigmoid_is(
    made, tmp_path, other_bundle, key
):
    """Their sigmoid is 1, which looks like an answer."""
    bundle = other_bundle(tmp_path / "bundle", float("inf"))
    whole = (made.bundle / "model_fp32.tflite").read_bytes()
    (bundle / "model_fp32.tflite").write_bytes(with_infinite_biases(whole))
    assert np.isnan(run_variant(bundle, key, made.pixels)).all()


@pytest.mark.parametrize(
    ("said", "stderr", "returncode", "reason"),
    [
        ('{"error": "no model"}', "INFO", 0, "no model"),
        ("", "", -signal.SIGKILL, "its process was killed (SIGKILL): out of memory?"),
        ("", "Traceback\nImportError: no runtime\n\n", 1, "ImportError: no runtime"),
        ("", " \n", 1, "its process ended without a word"),
    ],
)
def test_reasons(said, stderr, returncode, reason):
    assert _reason(said, stderr, returncode) == reason


def test_some_images_are_some_whole_patients(made, tmp_path):
    from cxrflow.components.edge.parity.sample import read_sample
    from cxrflow.schema.model_json import CompactFormat

    files = [str(path) for path in (made.examples / "Split-eval").iterdir()]
    compact = CompactFormat(image_size=32, encoding="raw", jpeg_quality=95)
    some = read_sample(files, compact, 32, 3, 7, tmp_path / "some.npy")
    assert len(some.patients) == 6  # the seventh would be half a patient
    numbers = [int(patient) for patient in some.patients]
    assert numbers == sorted(numbers) and numbers[::2] == numbers[1::2]
    rows = [2 * number + i % 2 for i, number in enumerate(numbers)]
    assert (np.load(some.pixels) == np.load(made.pixels)[rows]).all()
    assert (some.labels == made.labels[rows]).all()
    more = read_sample(files, compact, 32, 3, 20, tmp_path / "more.npy")
    assert set(some.patients) < set(more.patients)


def test_patients_come_in_the_order_of_a_hash():
    from cxrflow.components.edge.parity.sample import whole_patients

    patients = np.array([b"big"] * 5 + [b"%d" % i for i in range(20)])
    taken = whole_patients(patients, 4)
    assert len(taken) == 4 and b"big" not in taken
    assert taken != [b"0", b"1", b"2", b"3"]
    assert whole_patients(patients[::-1], 4) == taken
    assert set(whole_patients(patients, 25)) == set(patients)
    with pytest.raises(CxrflowError, match="more than 4 images: raise edge"):
        whole_patients(patients[:5], 4)


def test_without_images_nothing_can_be_evaluated(made, tmp_path):
    with pytest.raises(CxrflowError, match="there are no eval images"):
        evaluate(replace(made, examples=tmp_path), made.bundle)
