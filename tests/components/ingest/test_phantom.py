"""Phantom radiographs and the folder they come in."""

import csv
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from cxrflow.components.ingest.phantom import MARKER, write_phantoms
from cxrflow.components.ingest.phantom.radiograph import PIXELS, render
from cxrflow.components.ingest.phantom.table import Study
from cxrflow.schema.classes import CLASSES_14
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import logger as progress
from tests.support.processes import wait_until_ended

ROOT = Path(__file__).parents[3]
COLUMNS = [
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
    "OriginalImage[Width",
    "Height]",
    "OriginalImagePixelSpacing[x",
    "y]",
    "",
]


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def study(*findings: str, patient: int = 5, follow_up: int = 0, view: str = "PA") -> Study:
    return Study(patient, follow_up, 50, "F", view, findings, (2500, 2048, 0.168))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "set"
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.done)
    progress.addHandler(handler)
    try:
        count = write_phantoms(out, patients=12, seed=1, prevalence_scale=4, workers=2)
    finally:
        progress.removeHandler(handler)
    assert count == len(list((out / "images").iterdir())) == seen[-1]
    return out


def test_a_mounted_volume_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(CxrflowError, match=f"--to {tmp_path} is a mounted volume itself"):
        write_phantoms(tmp_path, patients=1, seed=1, workers=1)
    assert not any(tmp_path.iterdir())


def test_table_has_kaggles_columns_and_one_row_an_image(folder):
    rows = read(folder / "Data_Entry_2017.csv")
    assert list(rows[0]) == COLUMNS
    assert {r["Image Index"] for r in rows} == {p.name for p in (folder / "images").iterdir()}
    for r in rows:
        assert r["Image Index"] == f"{int(r['Patient ID']):08d}_{int(r['Follow-up #']):03d}.png"
        names = r["Finding Labels"].split("|")
        assert names == ["No Finding"] or (set(names) <= set(CLASSES_14) and names == sorted(names))
    assert {r["Patient ID"] for r in rows} == {str(k) for k in range(1, 13)}


def test_images_are_gray_1024(folder):
    for path in list((folder / "images").iterdir())[:5]:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.shape == (1024, 1024) and image.dtype == np.uint8
        assert 60 < image.mean() < 200 and image.std() > 30


def test_lists_share_no_patient_and_cover_all(folder):
    lists = [
        (folder / name).read_text().split() for name in ("train_val_list.txt", "test_list.txt")
    ]
    assert sorted(lists[0] + lists[1]) == sorted(p.name for p in (folder / "images").iterdir())
    patients = [{name[:8] for name in names} for names in lists]
    assert patients[0] and patients[1] and not patients[0] & patients[1]


def test_boxes_lie_inside_and_only_where_planted(folder):
    boxes = read(folder / "BBox_List_2017.csv")
    labels = {
        r["Image Index"]: r["Finding Labels"].split("|")
        for r in read(folder / "Data_Entry_2017.csv")
    }
    tested = set((folder / "test_list.txt").read_text().split())
    header = (folder / "BBox_List_2017.csv").read_text().splitlines()[0]
    assert header == "Image Index,Finding Label,Bbox [x,y,w,h],,,"
    assert boxes
    for row in boxes:
        x, y, w, h = (float(row[c]) for c in ("Bbox [x", "y", "w", "h]"))
        assert x >= 0 and y >= 0 and w > 5 and h > 5 and x + w <= 1024 and y + h <= 1024
        assert row["Image Index"] in tested
        assert (
            row["Finding Label"].replace("Infiltrate", "Infiltration") in labels[row["Image Index"]]
        )


def test_says_synthetic(folder):
    marker = json.loads((folder / MARKER).read_text())
    assert marker["synthetic"] is True
    assert marker["parameters"] == {
        "patients": 12,
        "seed": 1,
        "prevalence_scale": 4.0,
        "min_severity": 0.0,
    }


@pytest.mark.slow
def test_same_seed_same_bytes_with_one_worker(folder, tmp_path):
    write_phantoms(tmp_path / "again", patients=12, seed=1, prevalence_scale=4, workers=1)
    assert digests(tmp_path / "again") == digests(folder)


def test_fewer_patients_are_the_same_patients(folder, tmp_path):
    write_phantoms(tmp_path / "few", patients=2, seed=1, prevalence_scale=4, workers=1)
    few, many = digests(tmp_path / "few"), digests(folder)
    images = [name for name in few if name.startswith("images")]
    assert images and all(few[name] == many[name] for name in images)


def test_an_earlier_set_that_names_no_severity_has_them_all(tmp_path):
    out = tmp_path / "set"
    write_phantoms(out, patients=1, seed=1, workers=1)
    marker = json.loads((out / MARKER).read_text())
    del marker["parameters"]["min_severity"]
    (out / MARKER).write_text(json.dumps(marker))
    write_phantoms(out, patients=1, seed=1, workers=1)
    with pytest.raises(CxrflowError, match="other parameters"):
        write_phantoms(out, patients=1, seed=1, min_severity=0.5, workers=1)


def test_min_severity_is_a_floor():
    """A mass is the larger the more severe it is; the patient stays the same."""

    def area(least: float, follow_up: int) -> float:
        (box,) = render(study("Mass", follow_up=follow_up), 1, least)[1]["Mass"]
        return box[2] * box[3]

    for follow_up in range(3):
        assert area(0.0, follow_up) < area(0.6, follow_up) < area(1.0, follow_up)


def test_seeds_differ():
    assert (render(study(), seed=1)[0] != render(study(), seed=2)[0]).mean() > 0.5


@pytest.mark.parametrize("name", CLASSES_14)
@pytest.mark.parametrize("patient", [5, 6, 7])
def test_every_class_shows_where_its_box_is(name, patient):
    """Against the same patient without the finding, at the size a small network sees."""
    with_it, boxes = render(study(name, patient=patient), seed=1)
    without, _ = render(study(patient=patient), seed=1)
    small = [
        cv2.resize(i, (160, 160), interpolation=cv2.INTER_AREA).astype(float)
        for i in (with_it, without)
    ]
    change = np.abs(small[0] - small[1])
    inside = np.zeros((160, 160), bool)
    for box in boxes[name]:
        x, y, w, h = (v * 160 / PIXELS for v in box)
        inside[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = True
    assert 0 < inside.mean() < 0.6
    assert change[inside].max() > 15
    assert change[inside].mean() > 4 * change[~inside].mean()


def test_same_patient_keeps_his_chest_and_his_lesion():
    boxes = [render(study("Mass", follow_up=t), seed=1)[1]["Mass"][0] for t in (0, 1, 2)]
    centres = np.array([(x + w / 2, y + h / 2) for x, y, w, h in boxes])
    assert np.ptp(centres, axis=0).max() < 100
    assert boxes[0] != boxes[1]


def test_ap_film_shows_a_larger_heart():
    """Dark lung between the heart and the left chest wall is narrower on the AP film."""
    dark = [
        (render(study(view=view), seed=1)[0][520:640, 512:900] < 140).sum() for view in ("PA", "AP")
    ]
    assert dark[1] < dark[0]


def test_whole_set_of_the_same_parameters_is_left_alone(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert write_phantoms(folder, patients=12, seed=1, prevalence_scale=4) == len(
        list((folder / "images").iterdir())
    )
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patients": 0}, "patients is 0"),
        ({"patients": -3}, "patients is -3"),
        ({"seed": -1}, "seed is -1"),
        ({"prevalence_scale": -1.0}, "prevalence scale is -1"),
        ({"prevalence_scale": 0.0}, "prevalence scale is 0"),
        ({"prevalence_scale": float("nan")}, "prevalence scale is nan"),
        ({"prevalence_scale": float("inf")}, "prevalence scale is inf"),
        ({"min_severity": -0.1}, "min severity is -0.1"),
        ({"min_severity": 1.1}, "min severity is 1.1"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, arguments, message):
    with pytest.raises(CxrflowError, match=message) as error:
        write_phantoms(tmp_path / "out", **({"patients": 1, "seed": 1} | arguments))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "what", ["other files", "other seed", "image missing", "marker damaged", "a file"]
)
def test_occupied_folder_is_refused_and_left_alone(tmp_path, what):
    out = tmp_path / "out"
    if what == "a file":
        out.write_text("mine")
    elif what == "other files":
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    else:
        write_phantoms(out, patients=1, seed=2 if what == "other seed" else 1, workers=1)
    if what == "image missing":
        next((out / "images").iterdir()).unlink()
    if what == "marker damaged":
        (out / MARKER).write_text("{}")
    before = digests(out) or out.read_text()
    with pytest.raises(CxrflowError, match=str(out)) as error:
        write_phantoms(out, patients=1, seed=1, workers=1)
    assert "\n" not in str(error.value)
    assert (digests(out) or out.read_text()) == before
    assert os.listdir(tmp_path) == ["out"]


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CxrflowError, match="cannot write phantoms") as error:
        write_phantoms(tmp_path / "file" / "out", patients=1, seed=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x" * 300, "loop", "a\nb", "M\udcfcller", "link"])
def test_a_name_that_no_run_could_use_is_refused(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("a\nb")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CxrflowError, match=r"cannot write phantoms|isn't UTF-8") as error:
        write_phantoms(tmp_path / name, patients=1, seed=1, workers=1)
    assert str(error.value).isprintable()
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("refusal", ["files of 100,000 bytes", "nobody's rights"])
def test_what_the_system_refuses_while_drawing_leaves_nothing(tmp_path, refusal):
    """The kernel's own refusals, in a child: a limit stands for a full disk."""
    (tmp_path / "place").mkdir(mode=0o755)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)"
    if refusal == "nobody's rights":
        if os.geteuid():
            pytest.skip("only root can become nobody")
        limit = "import os; os.setgid(65534); os.setuid(65534)"
    code = (
        "from pathlib import Path\n"
        "from cxrflow.components.ingest.phantom import write_phantoms\n"
        f"{limit}\n"
        "if __name__ == '__main__':\n"
        f"    write_phantoms(Path({str(tmp_path / 'place' / 'out')!r}), 1, 1, workers=1)\n"
    )
    (tmp_path / "code.py").write_text(code)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "code.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    last = done.stderr.splitlines()[-1]
    assert "CxrflowError: cannot write phantoms to" in last
    assert "File too large" in last or "Permission denied" in last
    assert os.listdir(tmp_path / "place") == []


def test_too_little_disk_is_said_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(CxrflowError, match="make room"):
        write_phantoms(tmp_path / "out", patients=2, seed=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_killed_run_leaves_nothing_that_looks_whole_and_can_be_repeated(tmp_path):
    out = tmp_path / "out"
    code = (
        "from pathlib import Path; from cxrflow.components.ingest.phantom import write_phantoms;"
        f"write_phantoms(Path({str(out)!r}), patients=400, seed=1, workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    images = tmp_path / ".out.partial" / "images"
    while not (images.is_dir() and any(images.iterdir())):  # the test's own timeout ends it
        assert process.poll() is None
        time.sleep(0.05)
    with pytest.raises(CxrflowError, match="another run is writing"):
        write_phantoms(out, patients=1, seed=1)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert workers
    wait_until_ended(worker.pid for worker in workers)
    assert any(images.iterdir()) and not out.exists()
    assert write_phantoms(out, patients=2, seed=1, workers=1) == len(
        list((out / "images").iterdir())
    )
    assert os.listdir(tmp_path) == ["out"]
