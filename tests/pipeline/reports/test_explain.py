"""Boxes, overlays and sheets, with a model whose map is known."""

import dataclasses
import gzip
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrflow.components.images.blend import blend
from cxrflow.components.localise.boxes import Box, find_boxes, read_boxes
from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports.explain import explain, find_model, model_of_run
from cxrflow.pipeline.reports.overlay import PANEL, Panel, over_image, sheet
from cxrflow.pipeline.reports.truth import Truth
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import Member, ModelJson, write_model_json

CLASSES = ["Effusion", "Mass"]
HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
TABLE = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    "good.png,Mass|Hernia,0,1,60,M,PA\nother.png,No Finding,1,1,61,M,AP\n"
)


def test_boxes_are_read_by_position(tmp_path):
    text = HEADER + "a.png,Infiltrate,1,2,3,4,,,\nb.png,Mass,5.5,6,7,8,,,\na.png,Mass,9,9,9,9,,,\n"
    plain, zipped = tmp_path / "BBox_List_2017.csv", tmp_path / "boxes.csv.gz"
    plain.write_text(text)
    zipped.write_bytes(gzip.compress(text.encode()))
    expected = {
        "a.png": [Box("Infiltration", 1, 2, 3, 4), Box("Mass", 9, 9, 9, 9)],
        "b.png": [Box("Mass", 5.5, 6, 7, 8)],
    }
    assert read_boxes(plain) == read_boxes(zipped) == expected


def test_all_of_nihs_boxes_are_read(shared_dir):
    boxes = read_boxes(shared_dir / "data" / "labels" / "BBox_List_2017.csv.gz")
    assert (len(boxes), sum(map(len, boxes.values()))) == (880, 984)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", HEADER + "a.png,Mass,1,2,x,4,,,\n", None])
def test_other_files_are_no_boxes(text, tmp_path):
    path = tmp_path / "boxes.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CxrflowError, match=r"is no list of boxes|can't be read"):
        read_boxes(path)


@pytest.mark.parametrize("inside", ["images", "images_001/images", "."])
def test_boxes_are_found_beside_the_images(inside, tmp_path):
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    image = tmp_path / inside / "a.png"
    assert find_boxes(image) is None
    (tmp_path / "BBox_List_2017.csv").write_text(HEADER)
    assert find_boxes(image) == tmp_path / "BBox_List_2017.csv"


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(80, 80, (0, 80), (0, 80)), (40, 80, (20, 60), (0, 80)), (80, 40, (0, 80), (20, 60))],
)
def test_a_map_covers_the_letterboxed_square(height, width, rows, columns):
    attention = np.zeros((8, 8))
    attention[:, 4:] = 1
    attention[4:] *= 0.5
    whole = over_image(attention, 80, 80)
    found = over_image(attention, height, width)
    assert found.shape == (height, width)
    np.testing.assert_array_equal(found, whole[slice(*rows), slice(*columns)])
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (7, 7)])
def test_no_attention_leaves_the_xray_as_it_is(shape):
    image = np.full((64, 64), 100, np.uint8)
    found = sheet(image, [Panel("a", "", over_image(np.zeros(shape), 64, 64))], ["head"])
    assert (found[150:400, 100:400] == 100).all()


def test_cells_are_cells():
    found = over_image(np.array([[0.1, 0.9], [0.3, 0.5]]), 6, 6)
    np.testing.assert_allclose(found, np.kron([[0.1, 0.9], [0.3, 0.5]], np.ones((3, 3))))


def test_a_colour_means_the_same_on_every_map():
    image = np.full((8, 8), 100, np.uint8)
    faint, strong = np.full((2, 2), 0.02), np.full((2, 2), 0.9)
    mixed = np.array([[0.02, 0.9], [0.9, 0.02]])
    np.testing.assert_array_equal(blend(image, mixed)[0, 0], blend(image, faint)[0, 0])
    np.testing.assert_array_equal(blend(image, mixed)[0, 7], blend(image, strong)[0, 0])
    assert np.abs(blend(image, faint).astype(int) - 100).max() < 3  # hardly to be seen


def test_a_box_is_drawn_where_it_lies():
    image = np.zeros((64, 64), np.uint8)
    plain, boxed = (
        sheet(image, [Panel("a", "", None, boxes)], ["head"]).astype(int)
        for boxes in ([], [Box("Mass", 256, 512, 256, 128)])
    )
    difference = np.abs(boxed - plain).sum(axis=2)
    y = np.flatnonzero(difference[:, 200:].any(axis=1))  # right of its name, which stands above
    x = np.flatnonzero(difference[400:].any(axis=0))
    # 1024 pixels became PANEL: x 128..256, y 256..320, in a line of 2 to 3 pixels.
    assert np.ptp(x) == pytest.approx(PANEL / 4, abs=3)
    assert np.ptp(y) == pytest.approx(PANEL / 8, abs=3)


@pytest.mark.parametrize(
    "shape", [(20, 4000), (4000, 20), (100, 3000)], ids=["flat", "tall", "wide"]
)
def test_odd_shapes_are_drawn(shape):
    found = sheet(np.zeros(shape, np.uint8), [Panel("a", "b", np.zeros(shape))], ["head"])
    assert found.ndim == 3 and found.dtype == np.uint8


def write_model(folder: Path, per_class: bool, **info) -> Path:
    """Its map is bright at the right; probabilities .8 and .3."""
    import tensorflow as tf

    class Known(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def attention(self, image_bytes):
            n = tf.shape(image_bytes)[0]
            one = tf.tile(tf.reshape(tf.constant([0.1, 0.9]), [1, 1, 2]), [n, 2, 1])
            maps = tf.stack([one, one[:, :, ::-1]], axis=-1) if per_class else one
            return {"attention": maps, "probabilities": tf.tile([[0.8, 0.3]], [n, 1])}

    model = Known()
    tf.saved_model.save(model, str(folder), signatures={"attention": model.attention})
    member = Member(name="m", backbone="B", head="h", weight=1.0)
    write_model_json(folder, ModelJson(tuple(CLASSES), members=(member,), **info))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    youden = {"youden": {"threshold": 0.5, "sensitivity": 1, "specificity": 1}}
    return write_model(
        tmp_path_factory.mktemp("serving") / "7",
        per_class=True,
        name="known",
        synthetic=True,
        thresholds={"Effusion": youden, "Mass": None},
    )


@pytest.fixture
def images(tmp_path) -> list[Path]:
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    gray = np.full((64, 64), 90, np.uint8)
    for name in ("good.png", "other.png"):
        cv2.imwrite(str(folder / name), gray)
    (folder / "bad.png").write_text("no image")
    (folder.parent / "BBox_List_2017.csv").write_text(HEADER + "good.png,Mass,0,0,512,512,,,\n")
    (folder.parent / "Data_Entry_2017.csv").write_text(TABLE)
    return [folder / name for name in ("good.png", "bad.png", "other.png", "missing.png")]


@pytest.fixture
def panels(monkeypatch) -> dict:
    """What the last sheet was drawn from."""
    seen = {}

    def record(image, panels, head):
        seen.update(panels=panels, head=head)
        return sheet(image, panels, head)

    monkeypatch.setattr("cxrflow.pipeline.reports.explain.sheet", record)
    return seen


def test_truth_is_read_from_the_data_folder(images):
    truth = Truth()
    assert truth.labels(images[0]) == ("Hernia", "Mass")
    assert truth.labels(images[2]) == ()
    assert truth.labels(images[3]) is None
    assert [box.name for box in truth.boxes(images[0])] == ["Mass"]
    assert not truth.notes


def test_lists_that_cannot_be_read_are_named_and_left_out(images):
    (images[0].parents[1] / "BBox_List_2017.csv").write_text("a,b\n1,2\n")
    (images[0].parents[1] / "Data_Entry_2017.csv").write_text("a,b\n1,2\n")
    truth = Truth()
    for image in images:
        assert (truth.labels(image), truth.boxes(image)) == (None, [])
    assert sorted(note[:9] for note in truth.notes) == ["no boxes:", "no labels"]


def test_names_compare_as_ingest_compares_them(images):
    composed, decomposed = "M\u00fcller.png", "Mu\u0308ller.png"
    folder = images[0].parents[1]
    (folder / "Data_Entry_2017.csv").write_text(TABLE.replace("good.png", composed))
    (folder / "BBox_List_2017.csv").write_text(HEADER + f"{composed},Mass,0,0,512,512,,,\n")
    truth = Truth()
    assert truth.labels(folder / "images" / decomposed) == ("Hernia", "Mass")
    assert len(truth.boxes(folder / "images" / decomposed)) == 1


@pytest.mark.tf
def test_bad_images_are_named_and_the_rest_goes_on(model, images, tmp_path):
    found = explain(images, model, tmp_path / "to")
    assert [path.name for path in found.sheets] == ["good.png", "other.png"]
    assert [(bad.path, bad.reason) for bad in found.bad] == [
        (images[1], "neither a PNG nor a JPEG"),
        (images[3], "can't be read: No such file or directory"),
    ]
    assert found.synthetic
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["good.png", "other.png"]
    with Image.open(found.sheets[0]) as drawn:
        assert drawn.width > 3 * PANEL  # the X-ray and both classes


@pytest.mark.tf
def test_of_a_folder_what_is_skipped_is_told(model, images, tmp_path):
    folder = images[0].parent
    (folder / "README.txt").write_text("about")
    (folder / "copy").write_bytes(images[0].read_bytes())  # content decides, not the suffix
    awkward = folder / "M\udcfcller [1]'\"\n.png"
    awkward.write_bytes(images[0].read_bytes())
    found = explain([folder], model, tmp_path / "to")
    names = {path.name for path in found.sheets}
    assert names == {"good.png", "other.png", "copy.png", awkward.name}
    assert [bad.path.name for bad in found.bad] == ["bad.png"]
    assert [(s.path.name, s.reason) for s in found.skipped] == [("README.txt", "no image")]


@pytest.mark.tf
def test_same_names_have_their_own_sheets(model, images, tmp_path):
    other = tmp_path / "good.png"
    other.write_bytes(images[0].read_bytes())
    uids = [tmp_path / "1.2.840.1", tmp_path / "1.2.840.2"]  # no suffixes, though they look so
    for path in uids:
        path.write_bytes(images[0].read_bytes())
    found = explain([images[0], images[0], other, *uids], model, tmp_path / "to")
    assert [path.name for path in found.sheets] == [
        "good.png",
        "good.png.png",
        "1.2.840.1.png",
        "1.2.840.2.png",
    ]


@pytest.mark.tf
def test_a_dicom_is_drawn(model, shared_dir, tmp_path, panels):
    path = shared_dir / "faults" / "dicom" / "00_reference.dcm"
    found = explain([path], model, tmp_path / "to")
    assert [sheet.name for sheet in found.sheets] == ["00_reference.png"]
    assert panels["panels"][0].text == "true labels: no table lists it"


@pytest.mark.tf
def test_sheet_says_what_the_model_said(model, images, tmp_path, panels):
    explain(images[:1], model, tmp_path / "to", ["Mass", "Effusion"])
    xray, mass, effusion = panels["panels"]
    assert (xray.text, mass.text) == ("true labels: Hernia (not the model's), Mass", "0.300")
    assert (mass.title, effusion.title) == ("Mass, labelled, boxed", "Effusion")
    assert effusion.text == "0.800, above its threshold 0.500"
    assert len(xray.boxes) == len(mass.boxes) == 1 and not effusion.boxes
    assert effusion.attention[0, -1] == pytest.approx(0.9)
    assert effusion.attention[0, 0] == pytest.approx(0.1)
    assert mass.attention[0, 0] == pytest.approx(0.9)
    assert any("synthetic" in line for line in panels["head"])
    # Nothing stands out of an even gray: all of it is the body. The box is the upper left quarter,
    # half of whose columns' attention is .9 of 1.
    assert effusion.below == "100% inside the body"
    assert mass.below == "100% inside the body, 45% inside the box, which is 25% of the X-ray"

    one_map = write_model(tmp_path / "one", per_class=False, synthetic=False)  # no thresholds
    explain(images[:1], one_map, tmp_path / "to", ["Mass"])
    assert [panel.title for panel in panels["panels"]] == ["X-ray", "all classes"]
    assert "no class apart" in panels["panels"][1].text
    assert panels["head"][1] == "Mass, labelled, boxed: 0.300"
    assert not any("synthetic" in line for line in panels["head"])


@pytest.mark.tf
def test_known_classes_come_first_whatever_the_model_says(
    model, images, tmp_path, panels, monkeypatch
):
    monkeypatch.setattr("cxrflow.pipeline.reports.explain.SHOWN", 1)
    explain(images[:1], model, tmp_path / "to")
    # Mass, at .3, is labelled and boxed; Effusion is the most probable.
    assert [p.title for p in panels["panels"][1:]] == ["Mass, labelled, boxed", "Effusion"]
    explain(images[2:3], model, tmp_path / "to")
    assert panels["panels"][0].text == "true labels: No Finding"
    assert [p.title for p in panels["panels"][1:]] == ["Effusion"]


@pytest.mark.tf
def test_a_place_that_takes_no_sheets_is_one_line(model, images, tmp_path):
    (tmp_path / "to" / "good.png").mkdir(parents=True)
    with pytest.raises(CxrflowError, match=r"good.png can't be written: .*--to names"):
        explain(images[:1], model, tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["good.png"]


@pytest.mark.tf
def test_of_a_run_the_served_version_is_explained(model, tmp_path):
    folder = tmp_path / "serving" / "cxr"
    for version in ("5", "7"):
        shutil.copytree(model, folder / version)
    run = Run({}, "", True, 1.0, [], [], {}, pushed=str(folder / "7"), log="")
    assert model_of_run(run) == folder / "7"
    (folder / "labels.json").write_text('{"labels": {"stable": 5}, "pinned": 5, "previous": 7}')
    assert model_of_run(run) == folder / "5"  # after a rollback
    unpushed = dataclasses.replace(run, pushed="", artifacts={"Trainer.m": {"model": str(model)}})
    assert model_of_run(unpushed) == model


@pytest.mark.tf
def test_unknown_classes_and_other_folders_are_errors(model, images, tmp_path):
    with pytest.raises(CxrflowError, match="no class Nodule; it has Effusion, Mass"):
        explain(images, model, tmp_path / "to", ["Nodule"])
    assert not (tmp_path / "to").exists()
    assert find_model(model) == find_model(model.parent) == model
    with pytest.raises(CxrflowError, match="is no model"):
        find_model(tmp_path)
