import numpy as np
import pytest

from components.edge_evaluate.judge import judge, kind_of
from components.edge_evaluate.parity import PairedBootstrap
from components.edge_export.settings import EdgeConfig

# Ten patients, half of them positive and all ranked right.
LABELS = np.array([[i < 5] for i in range(10)], float)
SOURCE = np.linspace(0.9, 0.1, 10, dtype=np.float32)[:, None]


def verdict(key, probabilities, labels=LABELS, **settings):
    source = PairedBootstrap(labels, np.arange(len(labels)), SOURCE, draws=20)
    config = EdgeConfig(draws=20, **settings)
    return judge(key, "file", 1, np.asarray(probabilities, np.float32), source, ["A"], config)


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


@pytest.mark.parametrize(
    ("found", "settings", "reason"),
    [
        (SOURCE / 2, {}, None),  # all probabilities wrong, none ranked wrong
        (
            swapped(),
            {},
            "mean AUC 0.0400 below its source's, 0.01 allowed",
        ),
        (swapped(), {"max_auc_loss": 0.05}, None),
    ],
)
def test_quantized_variants_are_judged_by_their_mean_auc(found, settings, reason):
    report = verdict("litert_int8", found, **settings)
    assert report.reasons == ((reason,) if reason else ())


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
