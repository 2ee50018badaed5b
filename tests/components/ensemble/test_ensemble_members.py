"""Which models become members."""

import json
from pathlib import Path

import pytest

from cxrflow.components.ensemble.members import read_members
from cxrflow.schema.errors import CxrflowError
from tests.support.nodes import write_verdict_on

CLASSES = ["Edema", "Mass"]


def model(root: Path, name: str, **changes: object) -> Path:
    folder = root / f"model-{len(list(root.iterdir()))}"
    (folder / "assets.extra").mkdir(parents=True)
    info = {
        "name": name,
        "classes": CLASSES,
        "image_size": 64,
        "compact": {"image_size": 512, "encoding": "jpeg", "jpeg_quality": 95},
        "members": [{"name": name, "backbone": "MobileNet", "head": "simple", "weight": 1.0}],
        "calibration": {c: {"slope": 2.0, "intercept": 0.5} for c in CLASSES},
    }
    (folder / "assets.extra" / "model.json").write_text(json.dumps(info | changes))
    return folder


def verdict(root: Path, name: str, *reasons: str) -> Path:
    return write_verdict_on(root / f"verdict-{name}", name, *reasons)


def test_verdicts_are_matched_by_name_in_any_order(tmp_path):
    models = [model(tmp_path, name) for name in ("a", "b", "c")]
    verdicts = [
        verdict(tmp_path, "c"),
        verdict(tmp_path, "b", "Mass: AUC 0.400, 0.500 needed", "and more"),
        verdict(tmp_path, "a"),
    ]
    members, left_out = read_members(models, verdicts, CLASSES)
    assert [(m.name, m.backbone, m.head, m.folder) for m in members] == [
        ("a", "MobileNet", "simple", models[0]),
        ("c", "MobileNet", "simple", models[2]),
    ]
    assert members[0].calibration.slope.tolist() == [2.0, 2.0]
    assert [(m.name, m.reason) for m in left_out] == [
        ("b", "Mass: AUC 0.400, 0.500 needed (and 1 more)")
    ]


def test_none_left_names_all(tmp_path):
    models = [model(tmp_path, name) for name in ("a", "b")]
    verdicts = [verdict(tmp_path, "a", "too weak"), verdict(tmp_path, "b", "weaker")]
    with pytest.raises(CxrflowError, match=r"no member passed.*a: too weak; b: weaker"):
        read_members(models, verdicts, CLASSES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["Mass", "Edema"]}, "b tells Mass, Edema"),
        ({"image_size": 96}, "different sizes .a 64, b 96"),
        ({"name": "a"}, "two models are named a"),
        ({"name": "stranger"}, "no verdict on stranger"),
    ],
)
def test_models_that_do_not_fit_together(tmp_path, changes, message):
    models = [model(tmp_path, "a"), model(tmp_path, **{"name": "b"} | changes)]
    verdicts = [verdict(tmp_path, "a"), verdict(tmp_path, "b")]
    with pytest.raises(CxrflowError, match=message):
        read_members(models, verdicts, CLASSES)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(CxrflowError, match=r"has no assets.extra/model.json"):
        read_members([tmp_path], [], CLASSES)
