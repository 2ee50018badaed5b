"""What is no chest X-ray, as a bundle tells it: in results, in --check, and in older bundles."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import description  # type: ignore[import-not-found]
from bundle import Refused, open_bundle  # type: ignore[import-not-found]
from check import Golden, _check_scores  # type: ignore[import-not-found]
from cxrflow.schema.portable.out_of_distribution import FILE, Detector, write_detector
from tests.edge.bundles import gray_png, sign
from tests.edge.conftest import run_infer

# The score is the square of ten times the mean gray, of 1; more than 49 is no X-ray.
DETECTOR = Detector(1, np.zeros(4, np.float32), np.diag(np.float32([10, 0, 0, 0])))


@pytest.fixture
def telling(quick_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that tells."""
    made = tmp_path / "1795400000"
    shutil.copytree(quick_bundle, made)
    write_detector(str(made / FILE), DETECTOR)
    change(made, {"threshold": 49.0, "quantile": 0.96})
    return made


def change(made: Path, said: object) -> None:
    info = json.loads((made / "model.json").read_text())
    (made / "model.json").write_text(json.dumps({**info, "out_of_distribution": said}))
    sign(made)


def test_bright_images_are_flagged_in_both_results(telling: Path, tmp_path: Path) -> None:
    for name, level in (("dark", 51), ("bright", 204)):
        (tmp_path / f"{name}.png").write_bytes(gray_png(np.full((64, 64), level, np.uint8)))
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    images = [tmp_path / f"{name}.png" for name in ("dark", "bright", "cut")]
    done = run_infer(telling)(*images, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "1 may be no chest X-rays like those that the model was trained on" in done.stdout
    with (tmp_path / "out" / "results.jsonl").open() as file:
        rows = {Path(row["file"]).stem: row for row in map(json.loads, file)}
    assert [rows[n]["out_of_distribution"] for n in ("dark", "bright")] == [False, True]
    assert rows["bright"]["out_of_distribution_score"] == pytest.approx(64, rel=1e-4)
    assert "out_of_distribution" not in rows["cut"]
    with (tmp_path / "out" / "results.csv").open() as file:
        table = {Path(row["file"]).stem: row for row in csv.DictReader(file)}
    assert [table[n]["out_of_distribution"] for n in ("dark", "bright", "cut")] == ["0", "1", ""]
    assert float(table["dark"]["out_of_distribution_score"]) == pytest.approx(4, rel=1e-4)


def test_its_file_has_one_name() -> None:
    assert description.DETECTOR == FILE


def test_an_older_bundle_tells_nothing(quick_bundle: Path) -> None:
    found = open_bundle(str(quick_bundle))
    assert found.detector() is None and found.usual_score is None
    golden = Golden(["0.png"], np.zeros((1, 32, 32), np.uint8), 0, {}, None)
    assert _check_scores(found, golden, pytest.fail)


@pytest.mark.parametrize(
    ("factor", "good"), [(1.0, True), (1.0005, True), (1.01, False), (np.nan, False)]
)
def test_golden_scores_are_those_of_the_pipeline(telling, factor, good) -> None:
    pixels = np.stack([np.full((32, 32), level, np.uint8) for level in (51, 204)])
    said: list[str] = []
    golden = Golden(["0.png", "1.png"], pixels, 0, {}, np.float32([4, 64]) * np.float32(factor))
    assert _check_scores(open_bundle(str(telling)), golden, said.append) is good
    (line,) = said
    assert line.endswith("passed" if good else "FAILED") and "2 golden images" in line


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("high", "out_of_distribution is no object"),
        ({"threshold": "high"}, "out_of_distribution.threshold is no number"),
        ({"quantile": 0.96}, "out_of_distribution.threshold is no number"),
    ],
)
def test_a_description_of_another_form_is_refused(telling: Path, said, reason: str) -> None:
    change(telling, said)
    with pytest.raises(Refused, match=reason):
        open_bundle(str(telling))


def test_a_bundle_without_its_detector_is_refused(telling: Path) -> None:
    (telling / FILE).write_bytes(b"no archive")
    sign(telling)
    with pytest.raises(Refused, match=r"can't be read|pickle"):
        open_bundle(str(telling)).detector()
    (telling / FILE).unlink()
    sign(telling)
    with pytest.raises(Refused, match=f"out_of_distribution without {FILE}"):
        open_bundle(str(telling))
