"""What infer.py leaves out, keeps, answers again, and says of it; with the ONNX network."""

import csv
import fcntl
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge.bundles import onnx_bundle
from tests.edge.conftest import run_infer
from tests.support.odd_images import make_odd_images

ODD = make_odd_images()
DICOM = bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + bytes(4)


def rows(out: Path) -> dict[str, dict]:
    """By the file's name, of which each has one row."""
    lines = (out / "results.jsonl").read_text().splitlines()
    found = {Path(row["file"]).name: row for row in map(json.loads, lines)}
    assert len(found) == len(lines)
    return found


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def test_what_is_left_out_is_said(quick, folder, tmp_path) -> None:
    for name, content in {
        "a_jpeg": ODD["JPEG"].data,
        "a_png.dat": ODD["PNG"].data,
        "b.JFIF": ODD["JPEG"].data,
        "dicom": DICOM,
        "dicom.png": DICOM,
        "headless": b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
        "notes.txt": b"no image",
        "scan.tif": b"II*\0" + bytes(50),
        ".hidden.png": ODD["PNG"].data,
    }.items():
        (folder / name).write_bytes(content)
    (folder / "dead.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.png")
    done = quick(folder, "--out", tmp_path / "out")
    assert done.returncode == 1
    said = summary(tmp_path / "out")
    assert (said["images"], said["answered"], said["failed"]) == (15, 15, 0)
    skipped = {Path(one["file"]).name: one["reason"] for one in said["skipped"]}
    dicom = "a DICOM: the device reads PNG and JPEG; `cxrflow predict` reads it on the host"
    assert skipped == {
        "dicom": dicom,
        "dicom.png": dicom,
        "headless": dicom,
        "notes.txt": "no image",
        "scan.tif": "a TIFF: PNG and JPEG are accepted",
        ".hidden.png": "hidden",
        "dead.png": "a link to nothing",
        "pipe.png": "no regular file",
    }
    assert f"3 left out, {dicom}: {folder}/dicom, ..." in done.stderr
    assert "notes.txt" in done.stdout


def test_what_is_no_image_costs_nothing(quick, folder, tmp_path) -> None:
    (folder / "notes.txt").write_text("no image")
    done = quick(folder, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_files_are_failures_among_the_others(quick, folder, tmp_path) -> None:
    (folder / "05a.png").write_bytes(ODD["PNG cut in half"].data)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpeg").write_text("no image")
    done = quick(folder, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"infer: 3 of 15 images have no answer; {tmp_path}/out/results.csv says why"
    ]
    errors = {name: row["error"] for name, row in rows(tmp_path / "out").items() if "error" in row}
    assert errors == {
        "05a.png": ODD["PNG cut in half"].outcome,
        "empty.jpg": "empty",
        "text.jpeg": "neither a PNG nor a JPEG",
    }


def test_nothing_answered_is_a_failure(quick, tmp_path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_text("no image")
    for _ in range(2):
        done = quick(images, "--out", tmp_path / "out")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("infer: none of 1 images has an answer; ")
    assert list(rows(tmp_path / "out")) == ["a.png"]


@pytest.mark.parametrize(("content", "why"), [(None, ""), (DICOM, "is a DICOM")])
def test_a_folder_without_images_is_refused(quick, tmp_path, content, why) -> None:
    (tmp_path / "images").mkdir()
    if content:
        (tmp_path / "images" / "one").write_bytes(content)
    done = quick(tmp_path / "images", "--out", tmp_path / "out")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"infer: no PNG or JPEG in {tmp_path}/images")
    assert why in line
    assert not (tmp_path / "out").exists()


def test_linked_folders_are_entered_once(quick, folder, tmp_path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.png").write_bytes(ODD["PNG"].data)
    for name, target in {"a_loop": folder, "far": elsewhere, "too": elsewhere}.items():
        (folder / name).symlink_to(target)
    (elsewhere / "back").symlink_to(folder)
    done = quick(folder, "--out", tmp_path / "out")
    assert done.returncode == 0
    files = [row["file"] for row in rows(tmp_path / "out").values()]
    assert len(files) == 13
    assert files[-1] == str(folder / "far" / "far.png")
    assert len(summary(tmp_path / "out")["skipped"]) == 3


def test_a_result_belongs_to_the_content(quick, folder, tmp_path) -> None:
    out = tmp_path / "out"
    assert quick(folder, "--out", out).returncode == 0
    before, said = rows(out), (out / "summary.json").read_bytes()
    first, second = folder / "00.png", folder / "01.png"
    status = first.stat()
    content = second.read_bytes()
    first.write_bytes(content)
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = quick(folder, "--out", out)
    assert done.returncode == 0
    assert "1 images have changed or are tried again" in done.stdout
    after = rows(out)
    assert after["00.png"]["findings"] == before["01.png"]["findings"]
    assert {name: row for name, row in after.items() if name != "00.png"} == {
        name: row for name, row in before.items() if name != "00.png"
    }
    with open(out / "results.csv", newline="") as table:
        assert [Path(row["file"]).name for row in csv.DictReader(table)] == list(after)
    assert (out / "summary.json").read_bytes() != said


def test_a_copy_that_was_not_whole_is_answered_when_it_is(quick, folder, tmp_path) -> None:
    whole = (folder / "00.png").read_bytes()
    (folder / "00.png").write_bytes(whole[:-100])
    assert quick(folder, "--out", tmp_path / "out").returncode == 1
    (folder / "00.png").write_bytes(whole)
    assert quick(folder, "--out", tmp_path / "out").returncode == 0
    assert "findings" in rows(tmp_path / "out")["00.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_tried_again(quick, folder, tmp_path) -> None:
    (folder / "00.png").chmod(0)
    assert quick(folder, "--out", tmp_path / "out").returncode == 1
    said = (tmp_path / "out" / "summary.json").read_bytes()
    assert quick(folder, "--out", tmp_path / "out").returncode == 1
    assert (tmp_path / "out" / "summary.json").read_bytes() == said
    (folder / "00.png").chmod(0o600)
    assert quick(folder, "--out", tmp_path / "out").returncode == 0


def test_a_run_with_nothing_to_do_leaves_all_as_it_is(quick, folder, tmp_path) -> None:
    out = tmp_path / "out"
    (folder / "bad.png").write_text("no image")
    assert quick(folder, "--out", out).returncode == 1
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    done = quick(folder, "--out", out)
    assert done.returncode == 1
    assert "13 of 13 images were done before" in done.stdout
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "summary.json").unlink()
    quick(folder, "--out", out)
    assert (summary(out)["images"], summary(out)["failed"]) == (13, 1)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["below", "older", "itself"])
def test_results_among_the_images_are_not_scored(quick, folder, tmp_path, where) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "Image Index,Finding Labels\n"
        + "".join(f"{i:02}.png,{'Effusion' if i % 2 else 'No Finding'}\n" for i in range(12))
    )
    out = folder if where == "itself" else folder / "results"
    for _ in range(2):
        done = quick(folder, "--out", out, "--labels", labels)
        assert done.returncode == 0, done.stderr
    if where == "older":
        out.rename(folder / "results of yesterday")
        assert quick(folder, "--out", out).returncode == 0
    assert len(rows(out)) == 12
    (out / "summary.json").unlink()
    quick(folder, "--out", out)
    reasons = [one["reason"] for one in summary(out)["skipped"]]
    assert reasons.count("a result of infer.py") == 1


DAMAGE = {
    "half a line": lambda line: line[: len(line) // 2] + b"\n",
    "no end": lambda line: line[:-5],
    "zeros": lambda line: bytes(len(line)),
    "zeros and an end": lambda line: bytes(len(line) - 1) + b"\n",
    "a digit": lambda line: line.replace(b'"probability": 0.', b'"probability": 0.1', 1),
    "noise": lambda line: bytes(random.Random(0).randrange(256) for _ in line),
    "noise of lines": lambda line: b"\n\xff\n{}\n[1]\nnull\n" + b"\n",
    "deep": lambda line: b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("at", [0, 5, 11])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_costs_a_row_and_that_is_answered_again(quick_results, tmp_path, kind, at) -> None:
    """The journal alone, without the network: the command line's part is tested once below."""
    Results, model, lines = quick_results
    out = tmp_path / "out"
    out.mkdir()
    spoilt = [DAMAGE[kind](line) if i == at else line for i, line in enumerate(lines)]
    (out / "results.jsonl").write_bytes(b"".join(spoilt))
    (out / "results.csv").write_text(model.csv_header())
    opened = Results(str(out), model)
    # What has no end takes the line that follows it along.
    lost = {f"/x/{at}.png"}
    if kind in ("no end", "zeros", "noise") and at < 11 and f"/x/{at + 1}.png" not in opened.done:
        lost.add(f"/x/{at + 1}.png")
    assert set(opened.done) == {f"/x/{i}.png" for i in range(12)} - lost
    assert opened.damaged > 0
    opened.close()
    again = Results(str(out), model)
    assert again.damaged == 0
    again.close()


@pytest.fixture(scope="module")
def quick_results():
    import journal
    import results
    from tests.edge.test_edge_results import MODEL

    made = [MODEL.answer(f"/x/{i}.png", [0.125, 0.5, 0.9], f"{i:064}") for i in range(12)]
    return results.Results, MODEL, [journal.to_line(row) for row in made]


def test_a_damaged_journal_is_mended_by_the_same_command(quick, folder, tmp_path) -> None:
    out = tmp_path / "out"
    assert quick(folder, "--out", out).returncode == 0
    whole = (out / "results.jsonl").read_bytes()
    lines = whole.splitlines(True)
    lines[3] = lines[3][:40] + b"\0\0\xff" + lines[3][43:]
    (out / "results.jsonl").write_bytes(b"".join([*lines, lines[7], bytes(4096)]))
    done = quick(folder, "--out", out)
    assert done.returncode == 0
    assert "2 damaged lines of results.jsonl: what they lack is answered again" in done.stdout
    assert "11 of 12 images were done before" in done.stdout
    assert sorted((out / "results.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())


@pytest.mark.parametrize("byte", [b"", b"X", b"}", b"\0", b"\xff"])
def test_a_line_break_that_is_lost_costs_no_row(quick_results, tmp_path, byte: bytes) -> None:
    Results, model, lines = quick_results
    out = tmp_path / "out"
    out.mkdir()
    spoilt = [*lines[:4], lines[4][:-1] + byte, *lines[5:]]
    (out / "results.jsonl").write_bytes(b"".join(spoilt))
    opened = Results(str(out), model)
    assert len(opened.done) == 12 and opened.damaged == 1
    opened.close()
    assert (out / "results.jsonl").read_bytes() == b"".join(lines)


@settings(deadline=None, max_examples=60)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_row_at_most_and_gives_no_other(quick_results, at, bit) -> None:
    import journal

    _, _, lines = quick_results
    content = bytearray(b"".join(lines))
    content[int(at * len(content))] ^= 1 << bit
    right = [journal.to_row(line[:-1]) for line in lines]
    found = [one.row for one in journal.read_lines(io.BytesIO(content)) if one.row is not None]
    assert len(found) >= len(right) - 1
    assert all(row in right for row in found)


def test_a_table_or_plot_of_somebody_else_is_not_overwritten(quick, folder, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.csv").write_text("patient,remark\n1,mine\n")
    done = quick(folder, "--out", out)
    assert done.returncode == 2 and "results.csv isn't a file of infer.py" in done.stderr
    assert (out / "results.csv").read_text() == "patient,remark\n1,mine\n"
    (folder / "roc.png").write_bytes(ODD["PNG"].data)  # an X-ray, although of that name
    labels = tmp_path / "labels.csv"
    labels.write_text("Image Index,Finding Labels\n00.png,Mass\n")
    done = quick(folder, "--out", folder, "--labels", labels)
    assert done.returncode == 2 and "roc.png isn't a plot of infer.py" in done.stderr
    assert (folder / "roc.png").read_bytes() == ODD["PNG"].data


def test_a_summary_goes_before_its_results_grow(quick, folder, tmp_path) -> None:
    """A run that is killed between its last row and its summary leaves none that is of before."""
    out, before = tmp_path / "out", folder / "00.png"
    assert quick(before, "--out", out).returncode == 0
    assert summary(out)["images"] == 1
    rest = folder / "rest.png"
    rest.write_bytes(before.read_bytes())
    full = _no_files_above((out / "results.jsonl").stat().st_size + 100)
    stopped = quick(before, rest, "--out", out, preexec_fn=full)
    assert stopped.returncode == 2
    assert not (out / "summary.json").exists()
    assert quick(before, rest, "--out", out).returncode == 0
    assert summary(out)["images"] == 2


def _no_files_above(most: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return limit


def test_other_bundles_and_engines_are_not_mixed(quick, folder, tmp_path) -> None:
    out = tmp_path / "out"
    assert quick(folder, "--out", out).returncode == 0
    same_version = run_infer(onnx_bundle(tmp_path / "other", gain=2.0))
    done = same_version(folder, "--out", out)
    assert done.returncode == 2
    assert "holds results of another model, variant, engine or operating point" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("gain", [float("inf"), float("-inf"), float("nan"), 1e38 * 1e3])
def test_infinity_is_no_answer(folder, tmp_path, gain) -> None:
    done = run_infer(onnx_bundle(tmp_path / "spoilt", gain=gain))(folder, "--out", tmp_path / "out")
    assert done.returncode == 2
    errors = {row["error"] for row in rows(tmp_path / "out").values()}
    assert errors == {"the network's answer is not finite"}


NAMES = {
    "not UTF-8": b"r\xf6ntgen.png",
    "line break": b"a\nb\r.png",
    "quotes": b"\"a\", 'b'.png",
    "brackets": b"[a]{b}(c)*?.png",
    "letters": "Müller Ω 肺.png".encode(),
    "escape": b"\x1b[31mred.png",
    "spaces": b"  .png ",
}


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_any_name_works(quick, pngs, tmp_path, locale) -> None:
    images = os.fsencode(tmp_path) + b"/images"
    os.mkdir(images)
    paths = {kind: images + b"/" + name for kind, name in NAMES.items()}
    for path in paths.values():
        with open(path, "wb") as file:
            file.write(pngs[0])
    env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for asked in ([images], paths.values()):
        done = quick(*asked, "--out", tmp_path / "out", env=env)
        assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "out" / "results.jsonl").read_text(encoding="ascii").splitlines()
    files = [json.loads(line)["file"].encode("utf-8", "surrogateescape") for line in lines]
    assert sorted(files) == sorted(paths.values())
    with open(tmp_path / "out" / "results.csv", newline="", encoding="utf-8") as table:
        named = {row["file"] for row in csv.DictReader(table)}
    assert {path.decode() for kind, path in paths.items() if kind != "not UTF-8"} < named
    for path in paths.values():
        done = quick(path + b"\n missing", "--out", tmp_path / "out", env=env)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_nobody_reads_and_all_is_done(quick_bundle, folder, tmp_path) -> None:
    command = f'"{sys.executable}" "{quick_bundle}/infer.py" "{folder}" --out "{tmp_path}/out"'
    for i, streams in enumerate(("| true", ">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full")):
        done = subprocess.run(
            f"set -o pipefail; {command}{i} {streams}",
            shell=True,
            executable="/bin/bash",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, streams
        assert len(done.stderr.splitlines()) == (streams == ">/dev/full")
        assert len(rows(tmp_path / f"out{i}")) == 12


def test_a_place_that_cant_be_written_is_one_line(quick, folder, tmp_path) -> None:
    for out in ("/proc/out", "/dev/full/out", folder / "00.png"):
        done = quick(folder, "--out", out)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost(quick, quick_bundle, folder, tmp_path) -> None:
    for i in range(12, 400):
        os.link(folder / f"{i % 12:02}.png", folder / f"{i:03}.png")
    out, moment = tmp_path / "out", random.Random(0)
    command = [sys.executable, str(quick_bundle / "infer.py"), str(folder), "--out", str(out)]
    env = {**os.environ, "PYTHONPATH": ""}
    kept = 0
    for _ in range(4):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
        )
        while process.poll() is None and not _is_locked(out):
            time.sleep(0.002)
        time.sleep(moment.uniform(0, 0.4))
        process.send_signal(moment.choice((signal.SIGKILL, signal.SIGTERM)))
        process.wait()
        journal = out / "results.jsonl"
        whole = journal.read_bytes().count(b"\n") if journal.exists() else 0
        assert whole >= kept
        kept = whole
    assert quick(folder, "--out", out).returncode == 0
    assert len(rows(out)) == 400
    assert quick(folder, "--out", tmp_path / "unbroken").returncode == 0
    for name in ("results.jsonl", "results.csv"):
        assert (out / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def _is_locked(folder: Path) -> bool:
    if not folder.exists():
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
