"""The bundle's notebook, run from the first cell to the last on a read-only bundle."""

import json
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

import occlusion
from tests.edge.bundles import CLASSES, SIDE
from tests.edge.test_edge_python36 import lint

NOTEBOOK = Path(__file__).parents[2] / "edge" / "inference.ipynb"


def cells(kind: str) -> list[dict]:
    read = nbformat.read(NOTEBOOK, as_version=4)
    return [cell for cell in read.cells if cell.cell_type == kind]


@pytest.fixture
def executed(bundle, tmp_path, monkeypatch):
    """Runs it with these paths; returns the text and the pictures of its cells of code."""

    def run(**paths: Path) -> list[tuple[str, list[Image.Image]]]:
        for name in ("IMAGES", "LABELS", "OUT"):
            monkeypatch.delenv(f"CXRFLOW_{name}", raising=False)
        monkeypatch.delenv("PYTHONPATH", raising=False)  # on the device there is no cxrflow
        monkeypatch.setenv("CXRFLOW_BUNDLE", str(bundle))
        for name, path in paths.items():
            monkeypatch.setenv(f"CXRFLOW_{name.upper()}", str(path))
        book = nbformat.read(bundle / NOTEBOOK.name, as_version=4)
        where = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(book, timeout=200, kernel_name="python3", resources=where).execute()
        return [_said(cell) for cell in book.cells if cell.cell_type == "code"]

    return run


def _said(cell: dict) -> tuple[str, list[Image.Image]]:
    text = "".join(one["text"] for one in cell["outputs"] if one["output_type"] == "stream")
    shown = [one["data"] for one in cell["outputs"] if one["output_type"] == "display_data"]
    return text, [Image.open(BytesIO(b64decode(one["image/png"]))) for one in shown]


@pytest.mark.tf
def test_one_image_with_its_map_a_folder_and_roc(executed, folder, tmp_path):
    labels = tmp_path / "labels.csv"
    findings = ("No Finding", "|".join(CLASSES))
    rows = [f"{path.name},{findings[i % 2]}" for i, path in enumerate(sorted(folder.iterdir()))]
    labels.write_text("\n".join(["Image Index,Finding Labels", *rows, ""]))
    said = executed(images=folder, labels=labels, out=tmp_path / "out")
    texts = [text for text, _ in said]
    assert "engine: " in texts[2]
    assert str(folder / "00.png") in texts[3]
    assert all(name in texts[3] for name in CLASSES)
    (pair,) = said[4][1]
    assert pair.size == (2 * SIDE, SIDE)
    left, right = np.asarray(pair)[:, :SIDE], np.asarray(pair)[:, SIDE:]
    assert (left[..., 0] == left[..., 2]).all()
    assert (right[..., 0] != right[..., 2]).any()  # coloured
    assert "12 images in" in texts[5]
    assert all(name in texts[6] for name in CLASSES)
    (curves,) = said[6][1]
    assert curves.size == Image.open(tmp_path / "out" / "roc.png").size


@pytest.mark.tf
def test_golden_images_without_labels(executed, bundle, tmp_path):
    texts = [text for text, _ in executed(out=tmp_path / "out")]
    golden = list((bundle / "golden").glob("*.png"))
    assert f"{len(golden)} images in" in texts[5]
    assert texts[6] == "LABELS is empty: no curves\n"


def test_it_is_committed_without_outputs():
    book = json.loads(NOTEBOOK.read_text())
    # What the notebook for Python 3.6 reads.
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 4)
    for cell in cells("code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert book["metadata"]["kernelspec"]["name"] == "python3"


def test_its_code_runs_on_python_36(tmp_path):
    source = "\n".join(cell["source"] for cell in cells("code"))
    (tmp_path / "notebook.py").write_text(source)
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "matplotlib" not in source


def test_occlusion_finds_the_part_that_answers():
    """A network that sees nothing but one quarter, the upper right one, and less of it."""

    def run(images: np.ndarray) -> np.ndarray:
        seen = images[:, :2, 2:].mean(axis=(1, 2)) / 255
        return np.stack([seen, 1 - seen], axis=1)

    pixels = np.zeros((4, 4), np.uint8)
    pixels[:2, 2:] = 200  # the mean of all is 50
    found = occlusion.occlusion_map(run, pixels, 0, cells=2)
    np.testing.assert_allclose(found, [[0, 150 / 255], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(occlusion.occlusion_map(run, pixels, 1, cells=2), -found, atol=1e-6)
    fine = occlusion.occlusion_map(run, pixels, 0, cells=4)
    np.testing.assert_allclose(fine[:2, 2:], 150 / 255 / 4, atol=1e-6)
    assert np.count_nonzero(fine) == 4


@pytest.mark.parametrize(("value", "channel"), [(0.3, 0), (-0.3, 2)])
def test_overlay_is_red_for_and_blue_against(value, channel):
    pixels = np.full((8, 8), 100, np.uint8)
    drawn = np.asarray(occlusion.overlay(pixels, np.full((2, 2), value, np.float32)))
    rest = 40  # of 100; 60 % of the colour's 255 come to it
    assert (drawn[..., channel] == rest + 153).all()
    assert (np.delete(drawn, channel, axis=-1) == rest).all()


def test_overlay_of_nothing():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    drawn = np.asarray(occlusion.overlay(pixels, np.zeros((2, 2), np.float32)))
    assert (drawn == pixels[..., None]).all()
