import json
from dataclasses import replace

import pytest

from cxrflow.components.edge.parity.report import (
    FILE_NAME,
    ClassParity,
    DecisionParity,
    Lesson,
    ParityReport,
    PointParity,
    VariantReport,
    read_report,
    write_report,
)
from cxrflow.schema.errors import CxrflowError

AUC = ClassParity(0.8, 0.787, -0.013, (-0.02, -0.001))
CHANGE = DecisionParity(30, 2, 2 / 30, (0.01, 0.1), 2, 0)
POINTS = {
    "youden": PointParity(CHANGE, 10, 2, {"Mass": CHANGE}),
    "specificity": PointParity(replace(CHANGE, changed=3, share=0.1), 10, 3, {}),
}
GOOD = VariantReport("model.onnx", 10, "float", (), 1e-5, 1e-6, AUC, {"Mass": AUC})
LOSSY = replace(
    GOOD,
    file="model_int8.tflite",
    kind="quantized",
    reasons=("mean AUC too low",),
    points=POINTS,
    thresholds={"Mass": {"youden": {"threshold": 0.3}}},
    max_decision_change=0.02,
)
BROKEN = VariantReport("frozen_graph.pb", 3, "float", ("it doesn't run: no graph",))
REPORT = ParityReport(
    "tiny",
    synthetic=False,
    images=10,
    patients=8,
    draws=200,
    max_difference=0.001,
    max_auc_loss=0.01,
    positives={"Mass": 3},
    variants={"onnx": GOOD, "litert_int8": LOSSY, "frozen_graph": BROKEN},
)


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (
            REPORT,
            "edge bundle: 1 of 3 variants blessed; litert_int8 not: mean AUC too low; "
            "frozen_graph not: it doesn't run: no graph",
        ),
        (
            replace(REPORT, variants={"onnx": GOOD}, synthetic=True),
            "edge bundle: 1 of 1 variants blessed (synthetic X-rays)",
        ),
        (
            replace(
                REPORT,
                variants={"onnx": GOOD},
                lessons=(Lesson("eval", "small", 0.71, 0.725, 0.015, (0.002, 0.03)),),
            ),
            "edge bundle: 1 of 1 variants blessed; taught by the ensemble: mean AUC before "
            "conversion on eval 0.725, small untaught 0.710, difference +0.015 (+0.002 to +0.030)",
        ),
        (ParityReport("tiny", False, "not exported"), "edge bundle: none: not exported"),
    ],
)
def test_the_line_says_what_is_blessed_and_why_the_rest_is_not(report, line, tmp_path):
    assert report.line == line
    write_report(report, tmp_path)
    assert read_report(tmp_path) == report
    assert json.loads((tmp_path / FILE_NAME).read_text())["summary"] == line
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_the_file_tells_verdicts_without_code(tmp_path):
    write_report(REPORT, tmp_path)
    content = json.loads((tmp_path / FILE_NAME).read_text())
    assert {name: found["blessed"] for name, found in content["variants"].items()} == {
        "onnx": True,
        "litert_int8": False,
        "frozen_graph": False,
    }
    assert content["variants"]["onnx"]["classes"]["Mass"]["interval"] == [-0.02, -0.001]
    assert content["variants"]["frozen_graph"]["mean"] is None
    assert content["interval"] == 0.95
    youden = content["variants"]["litert_int8"]["points"]["youden"]
    assert (youden["images"], youden["images_changed"]) == (10, 2)
    assert youden["classes"]["Mass"] == {
        "decisions": 30,
        "changed": 2,
        "share": 2 / 30,
        "interval": [0.01, 0.1],
        "added": 2,
        "removed": 0,
    }


def test_the_largest_share_is_that_of_the_worst_point():
    assert LOSSY.decision_change == 0.1
    assert GOOD.decision_change is None


def test_a_report_from_before_decisions_is_read(tmp_path):
    write_report(replace(REPORT, variants={"onnx": GOOD}), tmp_path)
    content = json.loads((tmp_path / FILE_NAME).read_text())
    for name in ("points", "thresholds", "max_decision_change"):
        del content["variants"]["onnx"][name]
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    assert read_report(tmp_path).variants["onnx"] == GOOD


def test_loss_is_what_the_mean_lost():
    assert GOOD.mean_auc_loss == 0.013
    assert BROKEN.mean_auc_loss is None
    assert replace(GOOD, mean=ClassParity(None, None, None, None)).mean_auc_loss is None


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"summary": "", "variants": 3}'])
def test_what_is_no_report_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(CxrflowError, match=r"parity_report\.json can't be read .*run the pipeline"):
        read_report(tmp_path)
