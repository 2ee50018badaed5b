import numpy as np
import pytest

from cxrflow.components.edge.export.settings import EdgeConfig
from cxrflow.components.edge.parity.decisions import Decisions
from cxrflow.components.edge.parity.judge import judge, kind_of
from cxrflow.components.edge.parity.parity import PairedBootstrap

# Ten patients, half of them positive and all ranked right.
LABELS = np.array([[i < 5] for i in range(10)], float)
SOURCE = np.linspace(0.9, 0.1, 10, dtype=np.float32)[:, None]


THRESHOLDS = {"A": {"youden": {"threshold": 0.5}, "sensitivity": None}}


def verdict(key, probabilities, labels=LABELS, thresholds=THRESHOLDS, **settings):
    patients = np.arange(len(labels))
    source = PairedBootstrap(labels, patients, SOURCE, draws=20)
    decisions = Decisions(SOURCE, labels, patients, ["A"], thresholds, folds=5, draws=20)
    config = EdgeConfig(draws=20, **settings)
    answers = np.asarray(probabilities, np.float32)
    return judge(key, "file", 1, answers, source, decisions, ["A"], config)


def swapped():
    """One of 25 pairs the wrong way round: AUC .96."""
    found = SOURCE.copy()
    found[[4, 5]] = found[[5, 4]]
    return found


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("litert_fp32", "float"),
        ("litert_fp16", "float"),
        ("litert_dynamic", "quantized"),
        ("litert_int8", "quantized"),
        ("frozen_graph", "float"),
        ("onnx", "float"),
    ],
)
def test_which_variants_are_quantized(key, kind):
    assert kind_of(key) == kind


@pytest.mark.parametrize(
    ("apart", "settings", "reason"),
    [
        (0.0, {}, None),
        (0.0009, {}, None),
        (0.0011, {}, "a probability 0.0011 from its source's, 0.001 allowed"),
        (0.0011, {"max_difference": 0.002}, None),
        (0.05, {}, "a probability 0.05 from its source's, 0.001 allowed"),
    ],
)
def test_float_variants_are_judged_by_their_largest_difference(apart, settings, reason):
    found = SOURCE.copy()
    found[3] += apart
    report = verdict("onnx", found, **settings)
    assert report.reasons == ((reason,) if reason else ())
    assert report.blessed is (reason is None)
    assert report.max_difference == pytest.approx(apart, abs=1e-7)
    assert report.mean_difference == pytest.approx(apart / 10, abs=1e-7)


# One decision of ten: 10 %.
MANY = {
    "max_decision_change_int8": 0.1,
    "max_decision_change_dynamic": 0.1,
    "max_class_decision_change": 0.1,
}


def without_one():
    """One probability falls below its threshold, and stays above all of the negatives'."""
    found = SOURCE.copy()
    found[4] = np.float32(0.49)
    return found


@pytest.mark.parametrize(
    ("found", "settings", "reasons"),
    [
        (SOURCE, {}, []),
        (without_one(), MANY, []),
        (
            without_one(),
            {**MANY, "max_decision_change_int8": 0.09},
            [
                "10.00 % (1 of 10) of its decisions aren't its source's at the operating point"
                " youden, 9 % allowed"
            ],
        ),
        (
            without_one(),
            {**MANY, "max_class_decision_change": 0.09},
            [
                "10.00 % (1 of 10) of its decisions about A aren't its source's at the operating"
                " point youden, 9 % allowed"
            ],
        ),
        (
            swapped(),
            {**MANY, "max_decision_change_int8": 0.2, "max_class_decision_change": 0.2},
            ["mean AUC 0.0400 below its source's, 0.01 allowed"],
        ),
    ],
)
def test_quantized_variants_are_judged_by_decisions_and_mean_auc(found, settings, reasons):
    # Of so few images, thresholds of its own change no fewer decisions.
    report = verdict("litert_int8", found, **settings)
    assert report.thresholds is None
    assert list(report.reasons) == reasons
    assert report.max_decision_change == settings.get("max_decision_change_int8", 0.02)


def test_dynamic_range_has_a_limit_of_its_own():
    settings = {**MANY, "max_decision_change_dynamic": 0.05}
    assert verdict("litert_int8", without_one(), **settings).blessed
    report = verdict("litert_dynamic", without_one(), **settings)
    assert "5 % allowed" in report.reasons[0]


def test_of_a_model_without_thresholds_nothing_quantized_is_blessed():
    for thresholds in ({}, {"A": None}, {"A": {"youden": None}}):
        report = verdict("litert_int8", SOURCE, thresholds=thresholds)
        assert report.reasons[0].startswith("the model has no thresholds")
        assert report.decision_change is None
        assert verdict("onnx", SOURCE, thresholds=thresholds).blessed


def test_a_shift_passes_with_thresholds_of_its_own():
    report = verdict("litert_int8", SOURCE / 2, **MANY)
    assert report.blessed
    assert 0.2 < report.thresholds["A"]["youden"]["threshold"] < 0.3


def test_the_auc_is_told_of_float_variants_too():
    report = verdict("litert_fp32", swapped(), max_difference=0.5)
    assert report.blessed
    assert report.mean == report.classes["A"]
    assert (report.mean.source_auc, report.mean.auc) == (1.0, pytest.approx(0.96))
    assert report.mean_auc_loss == pytest.approx(0.04)
    low, high = report.mean.interval
    assert low < -0.04 < high


def test_without_both_labels_a_quantized_variant_cannot_be_judged():
    nobody = np.zeros((10, 1))
    assert verdict("onnx", SOURCE, nobody).blessed
    report = verdict("litert_dynamic", SOURCE, nobody)
    assert "no class has positives and negatives among the eval images" in report.reasons[0]
    assert report.classes["A"].auc is None and report.mean_auc_loss is None
    assert report.max_difference == 0


@pytest.mark.parametrize("key", ["onnx", "litert_int8"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "1 of 10 answers aren't finite"),
        (np.inf, "1 of 10 answers aren't finite"),
        (3.2, "it gives 0.1 to 3.2, which are no probabilities"),
        (-0.1, "it gives -0.1 to 0.9, which are no probabilities"),
    ],
)
def test_what_is_no_probability_is_never_blessed(key, value, reason):
    found = SOURCE.copy()
    found[2] = value
    report = verdict(key, found)
    assert report.reasons == (reason,)
    assert report.mean is None and report.max_difference is None
