"""model.json: written and read again, older and newer ones, and damaged ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import (
    FORMAT,
    MODEL_JSON,
    BadModelJson,
    CompactFormat,
    Member,
    ModelJson,
    NewerFormat,
    OutOfDistribution,
    parse_model_json,
    read_model_json,
    read_trained,
    write_model_json,
)

POINTS = {
    "youden": {"threshold": 0.04, "sensitivity": 0.8, "specificity": 0.7},
    "sensitivity": {"threshold": 0.02, "sensitivity": 0.9, "specificity": 0.6, "target": 0.9},
    "specificity": None,
}
# As cxrflow wrote it before it gave the format a number.
OLD = {
    "name": "ensemble",
    "classes": ["Edema", "Mass"],
    "image_size": 160,
    "compact": {"encoding": "jpeg", "image_size": 512, "jpeg_quality": 95},
    "members": [
        {"name": "a", "backbone": "MobileNet", "head": "attention", "weight": 0.75},
        {"name": "b", "backbone": "MobileNetV2", "head": "lse", "weight": 0.25},
    ],
    "ensemble": {"method": "weighted"},
    "calibration": {
        "Edema": {"slope": 0.9, "intercept": -0.5},
        "Mass": {"slope": 1, "intercept": 0.25},
    },
    "thresholds": {"Edema": POINTS, "Mass": None},
    "data": "d1",
    "split": "hash of patients",
    "code": "c1",
    "taught_by": "ensemble",
    "synthetic": True,
}
INFO = ModelJson(
    classes=("Edema", "Mass"),
    name="ensemble",
    image_size=160,
    compact=CompactFormat(image_size=512, encoding="jpeg", jpeg_quality=95),
    members=(Member("a", "MobileNet", "attention", 0.75), Member("b", "MobileNetV2", "lse", 0.25)),
    ensemble={"method": "weighted"},
    calibration={
        "Edema": {"slope": 0.9, "intercept": -0.5},
        "Mass": {"slope": 1.0, "intercept": 0.25},
    },
    thresholds={"Edema": POINTS, "Mass": None},
    data="d1",
    split="hash of patients",
    code="c1",
    taught_by="ensemble",
    synthetic=True,
)
NEWER = FORMAT + 1
NO_CLASSES = 'has no "classes": '


def changed(**values: object) -> str:
    return json.dumps(OLD | values)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_model_json(tmp_path, INFO)
    assert read_model_json(tmp_path) == read_trained(tmp_path) == INFO
    written = json.loads((tmp_path / "assets.extra" / "model.json").read_text())
    assert written == {"format": 2, **OLD, "out_of_distribution": None}


def test_what_is_no_chest_x_ray_is_told_by_a_threshold(tmp_path: Path) -> None:
    info = replace(INFO, out_of_distribution=OutOfDistribution(301.5, 0.96, 900, 300))
    write_model_json(tmp_path, info)
    assert read_model_json(tmp_path) == info
    assert parse_model_json(changed(out_of_distribution={"threshold": 3})) == replace(
        INFO, out_of_distribution=OutOfDistribution(3.0)
    )
    assert parse_model_json(changed(out_of_distribution=None)) == INFO


def test_a_file_without_a_format_is_read() -> None:
    assert parse_model_json(json.dumps(OLD)) == INFO
    assert parse_model_json(changed(format=1)) == INFO


def test_unknown_fields_are_passed_over() -> None:
    assert parse_model_json(changed(format=2, sex="both")) == INFO


def test_classes_are_enough() -> None:
    assert parse_model_json('{"classes": ["A", "B"]}') == ModelJson(("A", "B"))


def test_thresholds_by_class_and_point() -> None:
    points = ("youden", "sensitivity", "specificity", "other")
    assert [INFO.threshold("Edema", point) for point in points] == [0.04, 0.02, None, None]
    assert INFO.threshold("Mass", "youden") is INFO.threshold("Hernia", "youden") is None


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NewerFormat, match=f"of format {NEWER}, of a newer cxrflow than this"):
        parse_model_json(f'{{"format": {NEWER}, "labels": 3}}')
    (tmp_path / MODEL_JSON).parent.mkdir()
    (tmp_path / MODEL_JSON).write_text(changed(format=NEWER))
    for read in (read_model_json, read_trained):
        with pytest.raises(NewerFormat) as caught:
            read(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path / MODEL_JSON} is of format {NEWER}, ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no JSON"),
        (b"\xff\xfe{}", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (r'{"classes": ["\ud800"]}', "is no JSON"),
        ("[]", "is no JSON object"),
        ("{}", NO_CLASSES),
        (changed(format="2"), "has the format '2', which is no number of one"),
        (changed(format=True), "has the format True"),
        (changed(format=0), "has the format 0"),
        (changed(classes=[]), NO_CLASSES),
        (changed(classes="Edema"), NO_CLASSES),
        (changed(classes=["Edema", ""]), NO_CLASSES),
        (changed(classes=["Edema", 3]), NO_CLASSES),
        (changed(classes=["Edema", "Edema"]), NO_CLASSES),
        (changed(name=None), "has a bad name: "),
        (changed(image_size="160"), "has a bad image_size: "),
        (changed(compact={"encoding": "raw"}), "has a bad compact.image_size: "),
        (changed(members=[{"name": 3}]), "has a bad members.0.name: "),
        (changed(calibration={"Edema": 1}), "has a bad calibration.Edema: "),
        (changed(synthetic=1), "has a bad synthetic: "),
        (
            changed(thresholds={"Edema": {"youden": {"threshold": float("nan")}}}),
            "has a bad thresholds.Edema.youden.threshold: ",
        ),
    ],
)
def test_what_is_no_model_json_is_refused_in_a_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(BadModelJson) as caught:
        parse_model_json(text)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_a_folder_without_one_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match=r"has no assets\.extra/model\.json: it is no model of"):
        read_model_json(tmp_path)
    (tmp_path / MODEL_JSON).mkdir(parents=True)
    with pytest.raises(CxrflowError, match="can't be read: Is a directory"):
        read_model_json(tmp_path)


def test_a_model_from_elsewhere_is_not_one_that_cxrflow_trained(tmp_path: Path) -> None:
    write_model_json(tmp_path, ModelJson(("A",), name="theirs"))
    assert read_model_json(tmp_path).name == "theirs"
    with pytest.raises(CxrflowError, match="lacks image_size, compact, members: name a model that"):
        read_trained(tmp_path)
