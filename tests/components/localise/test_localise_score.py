"""Scores of maps that are known to be right or wrong."""

import numpy as np
import pytest

from cxrflow.components.localise.report import (
    CONTROLS,
    LeftOut,
    Localisation,
    read_localisation,
    write_localisation,
)
from cxrflow.components.localise.score import ALL, Case, score
from cxrflow.components.localise.settings import LocaliseConfig
from cxrflow.schema.errors import CxrflowError

CONFIG = LocaliseConfig(grid=64, random_boxes=20, draws=200)
CORNER = np.array([[0.0, 0.0, 0.25, 0.25]])
BODY = np.ones((64, 64), bool)


def bright(row: int, column: int) -> np.ndarray:
    attention = np.full((8, 8), 0.1)
    attention[row, column] = 0.9
    return attention


def case(name: str, patient: str, good: bool) -> Case:
    right, wrong = bright(0, 0), bright(7, 7)
    return Case(name, patient, CORNER, right if good else wrong, wrong, BODY)


def test_one_class_by_hand():
    cases = [case("Mass", f"p{i}", good) for i, good in enumerate([True, True, True, False])]
    (found,) = score(cases, CONFIG)
    assert (found.name, found.images, found.patients, found.boxes) == ("Mass", 4, 4, 4)
    pointing = found.pointing
    assert pointing.model.value == 0.75
    assert pointing.model.low < 0.75 < pointing.model.high <= 1
    assert pointing.controls["random_box"].value == pytest.approx(1 / 16)
    assert pointing.controls["centre_prior"].value == 0
    assert pointing.controls["random_weights"].value == 0
    assert pointing.controls["random_weights"].difference.value == 0.75
    least = found.overlaps[0]
    assert least.threshold == 0.1
    # The bright cell's region lies in the corner: found in three of four, two boxes at 60 and 180.
    assert least.accuracy.model.value == 0.75
    assert least.false_positives.model.value == 0.5  # two boxes astray on one of four images
    assert least.false_positives.controls["random_weights"].value == 2
    assert found.share_in_body.model.value == pytest.approx(1)
    assert found.likeness == pytest.approx((3 * -1 / 63 + 1) / 4)


def test_classes_in_alphabetical_order_then_all():
    cases = [case("Nodule", "a", True), case("Mass", "a", False), case("Mass", "b", True)]
    found = score(cases, CONFIG)
    assert [one.name for one in found] == ["Mass", "Nodule", ALL]
    assert [(one.images, one.patients) for one in found] == [(2, 2), (1, 1), (3, 2)]
    assert found[-1].pointing.model.value == pytest.approx(2 / 3)


def test_a_patient_s_images_are_drawn_together():
    alone = score([case("Mass", f"p{i}", i % 2 == 0) for i in range(20)], CONFIG)[0]
    together = score([case("Mass", f"p{i % 2}", i % 2 == 0) for i in range(20)], CONFIG)[0]
    assert alone.pointing.model.value == together.pointing.model.value == 0.5
    found = [one.pointing.model for one in (alone, together)]
    width = [one.high - one.low for one in found]
    assert width[1] == 1 > 2 * width[0]  # two patients, one all right, one all wrong


def test_two_boxes_of_a_class_are_two_to_find():
    both = np.array([[0, 0, 0.25, 0.25], [0.75, 0.75, 1, 1]])
    (found,) = score([Case("Mass", "a", both, bright(0, 0), bright(4, 4), BODY)], CONFIG)
    assert (found.images, found.boxes) == (1, 2)
    assert found.pointing.model.value == 1
    assert found.overlaps[0].accuracy.model.value == 0.5
    assert found.overlaps[0].false_positives.model.value == 0


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_a_flat_map_finds_nothing_by_luck_alone(value):
    flat = np.full((8, 8), value)
    (found,) = score([Case("Mass", "a", CORNER, flat, flat, BODY)], CONFIG)
    assert found.pointing.model.value == pytest.approx(1 / 16)
    assert found.overlaps[0].accuracy.model.value == 0
    assert found.overlaps[0].false_positives.model.value == 0
    assert found.likeness is None
    assert (found.share_in_boxes.model.value is None) == (value == 0)


def test_without_cases_there_is_nothing():
    assert score([], CONFIG) == ()


def test_the_report_is_read_as_it_was_written(tmp_path):
    found = Localisation(
        model="known",
        synthetic=True,
        split="test",
        boxes="BBox_List_2017.csv",
        map="class",
        cells=(8, 8),
        intensities=(60, 180),
        draws=200,
        classes=score([case("Mass", "a", True)], CONFIG),
        left_out=(LeftOut(1, "the box lies outside its image", ("a.png",)),),
    )
    write_localisation(found, tmp_path)
    read = read_localisation(tmp_path)
    assert read == found
    assert read.of("Mass").pointing.model.value == 1 and read.of("Hernia") is None
    assert set(read.of("Mass").pointing.controls) == set(CONTROLS)


@pytest.mark.parametrize("text", [None, "", "{}", '{"classes": 1}'])
def test_another_file_is_no_report(text, tmp_path):
    if text is not None:
        (tmp_path / "localisation.json").write_text(text)
    with pytest.raises(CxrflowError, match=r"localisation.json (can't be|isn't) read"):
        read_localisation(tmp_path)
