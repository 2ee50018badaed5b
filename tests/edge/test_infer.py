"""infer.py as a user runs it."""

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.edge.bundles import CLASSES, VERSION, sign
from tests.support.odd_images import make_odd_images

pytestmark = pytest.mark.tf

LITERT = ("--engine", "litert")


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def probabilities(out: Path) -> np.ndarray:
    return np.array([[one["probability"] for one in row["findings"]] for row in rows(out)])


def test_answers_a_folder_in_order_and_keeps_the_reasons(infer, folder, tmp_path) -> None:
    odd = make_odd_images()
    (folder / "05a.png").write_bytes(odd["PNG cut in half"].data)
    (folder / "99.jpeg").write_bytes(odd["text"].data)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    below = folder / "deeper"
    below.mkdir()
    (below / "X.JPG").write_bytes(odd["JPEG"].data)
    done = infer(folder, folder / "00.png", "--out", tmp_path / "out", *LITERT)
    assert done.returncode == 1
    (line,) = done.stderr.replace(_XNNPACK, "").splitlines()
    assert line.startswith("infer: 2 of 15 images have no answer; ")
    found = rows(tmp_path / "out")
    names = [*(f"{i:02}.png" for i in range(6)), "05a.png", *(f"{i:02}.png" for i in range(6, 12))]
    expected = [str(folder / name) for name in [*names, "99.jpeg", "deeper/X.JPG"]]
    assert [row["file"] for row in found] == expected
    errors = {Path(row["file"]).name: row["error"] for row in found if "error" in row}
    assert errors == {
        "05a.png": odd["PNG cut in half"].outcome,
        "99.jpeg": odd["text"].outcome,
    }
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["file"] for row in table] == expected
    assert {row["synthetic"] for row in table} == {"true"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["failed"], summary["version"]) == (15, 2, VERSION)
    assert (
        0 < summary["model_ms"]["p50"] <= summary["model_ms"]["p95"] <= summary["model_ms"]["p99"]
    )
    assert "synthetic X-rays" in done.stdout
    assert "15 images" in done.stdout
    assert "litert_fp32" in done.stdout


def test_engines_agree(infer, folder, tmp_path) -> None:
    assert infer(folder, "--out", tmp_path / "litert", *LITERT).returncode == 0
    done = infer(folder, "--out", tmp_path / "tf", "--engine", "tf", "--batch", 5)
    assert done.returncode == 0, done.stderr
    assert "frozen_graph, batches of 5" in done.stdout
    assert infer(folder, "--out", tmp_path / "onnx", "--engine", "onnx").returncode == 0
    found = [probabilities(tmp_path / name) for name in ("litert", "tf", "onnx")]
    assert found[0].shape == (12, len(CLASSES))
    assert found[0].std(axis=0).min() > 0.01  # they depend on the image
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)


def test_check_passes_and_fails(infer, bundle, tmp_path) -> None:
    done = infer("--check", *LITERT)
    assert done.returncode == 0, done.stderr
    assert "3 golden images: pixels differ by at most 0" in done.stdout
    assert done.stdout.rstrip().endswith("passed")
    spoilt = shutil.copytree(bundle, tmp_path / "spoilt")
    with np.load(bundle / "golden" / "golden.npz") as golden:
        changed = {name: golden[name] for name in golden.files}
    for key, change in (("answers_litert_fp32", 0.01), ("pixels", 2)):
        array = changed[key].copy()
        array[0, 0] += np.asarray(change, array.dtype)
        np.savez(spoilt / "golden" / "golden.npz", **{**changed, key: array})
        sign(spoilt)
        done = infer("--check", "--bundle", spoilt, *LITERT)
        assert done.returncode == 1
        assert done.stdout.rstrip().endswith("FAILED")
    assert infer("--check", "--tolerance", "1e-12", *LITERT).returncode == 1


def test_labels_give_aucs_and_a_plot(infer, folder, tmp_path) -> None:
    lines = ["Image Index,Finding Labels"]
    lines += [f"{i:02}.png,{'Effusion|Mass' if i % 3 else 'No Finding'}" for i in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    done = infer(folder, "--out", out, "--labels", tmp_path / "labels.csv", *LITERT)
    assert done.returncode == 0, done.stderr
    auc = (out / "auc.csv").read_text().splitlines()
    assert auc[:2] == ["Class,tiny (synthetic)", "Cardiomegaly,"]
    assert 0 <= float(auc[2].split(",")[1]) <= 1
    assert "no AUC, for want of positive or negative images: Cardiomegaly" in done.stdout
    assert "over 10 labelled images" in done.stdout
    assert (out / "roc.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("{empty}", "--out", "{out}"), "no PNG or JPEG in "),
        (("{missing}", "--out", "{out}"), "missing: there is no such file or folder"),
        (("{images}",), "images and --out DIR are needed"),
        (("{images}", "--out", "{images}/00.png"), "can't be written: "),
        (("{images}", "--out", "{out}", "--batch", "0"), "'0' is no number above 0"),
        (("{images}", "--out", "{out}", "--engine", "caffe"), "invalid choice: 'caffe'"),
        (("{images}", "--out", "{out}", "--variant", "litert_int8"), "no variant 'litert_int8'"),
        (("{images}", "--out", "{out}", "--bundle", "{empty}"), "is no edge bundle"),
        (("{images}", "--out", "{out}", "--engine", "trt"), "build_trt.py makes one"),
        (
            ("{images}", "--out", "{out}", "--labels", "{unknown}"),
            "row 2: Sneezing is not",
        ),
        (("{images}", "--out", "{out}", "--labels", "{others}"), "labels for none of the 12"),
    ],
)
def test_bad_input_is_one_line(infer, folder, tmp_path, arguments, reason) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "unknown.csv").write_text("Image Index,Finding Labels\n00.png,Sneezing\n")
    (tmp_path / "others.csv").write_text("Image Index,Finding Labels\nx.png,Mass\n")
    places = {name: tmp_path / name for name in ("empty", "missing", "out", "images")}
    places |= {name: tmp_path / f"{name}.csv" for name in ("unknown", "others")}
    done = infer(*(text.format(**places) for text in arguments))
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.replace(_XNNPACK, "").splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_corrupt_bundle_is_refused(infer, bundle, folder, tmp_path) -> None:
    corrupt = shutil.copytree(bundle, tmp_path / "corrupt")
    network = bytearray((corrupt / "model_fp32.tflite").read_bytes())
    network[len(network) // 2] ^= 1
    (corrupt / "model_fp32.tflite").write_bytes(network)
    done = infer(folder, "--out", tmp_path / "out", "--bundle", corrupt)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is damaged: model_fp32.tflite was changed; copy it anew" in done.stderr


def test_a_second_run_does_nothing_again(infer, folder, tmp_path) -> None:
    assert infer(folder, "--out", tmp_path, *LITERT).returncode == 0
    before = (tmp_path / "results.jsonl").read_bytes()
    done = infer(folder, "--out", tmp_path, *LITERT)
    assert done.returncode == 0
    assert "12 of 12 images were done before" in done.stdout
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_results_of_other_thresholds_are_not_mixed(infer, folder, tmp_path) -> None:
    assert infer(folder, "--out", tmp_path, *LITERT).returncode == 0
    done = infer(folder, "--out", tmp_path, "--point", "sensitivity", *LITERT)
    assert done.returncode == 2
    assert "holds results of another model, variant, engine or operating point" in done.stderr


@pytest.fixture
def many(folder: Path) -> Path:
    """600 files, hard links of the twelve, and a bad one in between."""
    for i in range(12, 600):
        os.link(folder / f"{i % 12:02}.png", folder / f"{i:03}.png")
    (folder / "300.png").unlink()
    (folder / "300.png").write_bytes(b"no image")
    return folder


# Commits every row and is slow, so that what is done to it is done while rows are written.
_EAGER = """
import signal, sys, time, runpy
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
sys.path.insert(0, {bundle!r})
import results, images
results._COMMIT_SECONDS = 0
prepare = images.prepare
def slow(*arguments):
    time.sleep(0.01)
    return prepare(*arguments)
images.prepare = slow
sys.argv = ["infer.py", *sys.argv[1:]]
runpy.run_path({script!r}, run_name="__main__")
"""


def slow_command(bundle: Path, *arguments: object) -> list[str]:
    code = _EAGER.format(bundle=str(bundle), script=str(bundle / "infer.py"))
    return [sys.executable, "-c", code, *map(str, arguments), *LITERT]


def start(bundle: Path, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        slow_command(bundle, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )


@pytest.mark.slow
def test_killed_at_any_moment_the_results_are_those_of_an_unbroken_run(
    infer, bundle, many, tmp_path
) -> None:
    assert infer(many, "--out", tmp_path / "whole", *LITERT).returncode == 1  # one is bad
    command = slow_command(bundle, many, "--out", tmp_path / "cut")
    moment = random.Random(0)
    journal = tmp_path / "cut" / "results.jsonl"
    kept = [0]
    for _ in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _count(journal) <= kept[-1]:
            time.sleep(0.002)
        time.sleep(moment.uniform(0, 0.3))
        process.kill()
        process.wait()
        kept.append(_count(journal))
    assert 0 < kept[1] < kept[-1] < 600
    done = infer(many, "--out", tmp_path / "cut", *LITERT)
    assert done.returncode == 1
    assert f"{kept[-1]} of 600 images were done before" in done.stdout
    for name in ("results.jsonl", "results.csv"):
        whole, cut = ((tmp_path / run / name).read_bytes() for run in ("whole", "cut"))
        assert cut == whole


def _count(journal: Path) -> int:
    """Whole rows."""
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_how_to_go_on(infer, bundle, many, tmp_path, number) -> None:
    process = start(bundle, many, "--out", tmp_path / "out")
    while process.poll() is None and not _count(tmp_path / "out" / "results.jsonl"):
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = errors.replace(_XNNPACK, "").splitlines()
    assert line.startswith("infer: stopped after ")
    assert line.endswith("of 600 images; the same command goes on from there")
    stopped = int(line.split()[3])
    assert len(rows(tmp_path / "out")) == stopped < 600
    assert infer(many, "--out", tmp_path / "out", *LITERT).returncode == 1
    assert len({row["file"] for row in rows(tmp_path / "out")}) == 600


def test_a_locked_output_is_refused(infer, bundle, many, tmp_path) -> None:
    process = start(bundle, many, "--out", tmp_path / "out")
    try:
        while process.poll() is None and not (tmp_path / "out" / "results.csv").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        done = infer(many, "--out", tmp_path / "out", *LITERT)
    finally:
        process.kill()
        process.communicate()
    assert done.returncode == 2
    assert "another infer.py writes to" in done.stderr
    assert len(done.stderr.replace(_XNNPACK, "").splitlines()) == 1


def test_a_full_disk_stops_with_what_was_done(infer, many, tmp_path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    out = tmp_path / "out"
    done = infer(many, "--out", out, *LITERT, preexec_fn=small_files)
    assert done.returncode == 2
    (line,) = done.stderr.replace(_XNNPACK, "").splitlines()
    assert "the disk is full; the results of " in line
    kept = len(rows(out))
    assert f"results of {kept} images are kept" in line
    assert infer(many, "--out", out, *LITERT).returncode == 1
    assert len({row["file"] for row in rows(out)}) == 600


def test_file_names_need_not_be_utf8_nor_the_locale(bundle, pngs, tmp_path) -> None:
    images = os.fsencode(tmp_path) + b"/r\xf6ntgen \xc3\xa9"
    os.mkdir(images)
    with open(images + b"/x.png", "wb") as file:
        file.write(pngs[0])
    command = [sys.executable, str(bundle / "infer.py"), images, "--out", tmp_path / "out", *LITERT]
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "out")
    assert row["file"] == images.decode("utf-8", "surrogateescape") + "/x.png"


_XNNPACK = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
