import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.evaluate.gate import Limits, judge
from cxrflow.components.evaluate.results import ClassResult
from cxrflow.components.evaluate.verdict import FILE_NAME, read_verdict, write_verdict
from cxrflow.schema.errors import CxrflowError

NAN = math.nan

LIMITS = Limits(min_positives=20)
TEST = "split=test"


def result(name="Mass", auc=0.8, positives=50, negatives=400, mean=0.2, spread=0.9):
    return ClassResult(
        name=name,
        positives=positives,
        negatives=negatives,
        auc=auc,
        auc_precision_recall=0.4,
        mean_label=0.1,
        mean_prediction=mean,
        calibration=2.0,
        brier_score=0.1,
        prediction_range=spread,
        ece=0.05,
        ece_uncalibrated=0.1,
        brier_score_uncalibrated=0.2,
    )


@pytest.mark.parametrize(
    ("found", "before", "status", "reason"),
    [
        (result(auc=0.8), None, "pass", ""),
        (result(auc=0.6), None, "pass", ""),  # the bound itself
        (result(auc=0.5999), None, "fail", "AUC 0.600, 0.600 needed"),
        (result("Edema", auc=0.8), None, "fail", "AUC 0.800, 0.850 needed"),
        (result(auc=0.2, positives=19), None, "not gated", "19 positives in the test split, 20"),
        (result(auc=NAN, positives=0), None, "not gated", "0 positives in the test split, 20"),
        (result(auc=0.2, negatives=3), None, "not gated", "3 negatives in the test split, 20"),
        (result(auc=0.8, positives=20), None, "pass", ""),
        (result(auc=NAN, mean=NAN), None, "fail", "its probabilities are not finite"),
        (result(auc=NAN, mean=NAN, positives=1), None, "fail", "its probabilities are not finite"),
        (result(auc=0.5, spread=0.0), None, "fail", "the same probability for every image"),
        (result(auc=0.7), result(auc=0.79), "pass", ""),
        (result(auc=0.7), result(auc=0.81), "fail", "AUC 0.700, 0.810 in the last blessed model"),
        (result(auc=0.7, positives=19), result(auc=0.9), "not gated", "19 positives"),
        (result(auc=0.7), result("Nodule", auc=0.9), "pass", ""),  # compared by name
    ],
)
def test_class_by_class(found, before, status, reason):
    limits = Limits(
        min_positives=20,
        min_auc=0.6,
        min_auc_per_class={found.name: 0.85} if found.name == "Edema" else {},
        max_auc_drop=1.0,
    )
    baseline = {TEST: (before,)} if before else None
    verdict = judge({TEST: (found,)}, limits, baseline=baseline)
    (class_verdict,) = verdict.classes
    assert class_verdict.status == status
    assert class_verdict.reason.startswith(reason)
    assert bool(class_verdict.reason) == (status != "pass")
    assert verdict.blessed == (status == "pass")


def test_blessed_with_classes_that_are_not_gated():
    results = (result("Edema", auc=0.9), result("Mass", auc=0.7), result("Hernia", NAN, 0))
    verdict = judge({TEST: results, "split=test,view=AP": results[:1]}, LIMITS, synthetic=True)
    assert verdict.blessed
    assert verdict.reasons == ()
    assert verdict.synthetic
    assert verdict.mean_auc == pytest.approx(0.8)  # Hernia has none
    assert math.isnan(verdict.mean_auc_change)
    assert verdict.slices == {"split=test,view=AP": results[:1]}


def test_one_failing_class_is_enough_and_all_are_named():
    results = (result("Edema", 0.9), result("Mass", 0.4), result("Nodule", 0.3))
    verdict = judge({TEST: results}, LIMITS)
    assert not verdict.blessed
    assert verdict.reasons == ("Mass: AUC 0.400, 0.500 needed", "Nodule: AUC 0.300, 0.500 needed")


def test_without_a_class_to_gate_nothing_is_blessed():
    verdict = judge({TEST: (result(positives=5), result("Edema", positives=7))}, LIMITS)
    assert not verdict.blessed
    assert verdict.reasons == (
        "No class has 20 positives and as many negatives in the test split: nothing to judge by "
        "(min_positives).",
    )


@pytest.mark.parametrize(
    ("aucs", "before", "blessed"),
    [
        ((0.80, 0.70), (0.80, 0.70), True),
        ((0.80, 0.70), (0.83, 0.70), True),  # one class less, the mean within .02
        ((0.80, 0.70), (0.83, 0.72), False),  # mean -.025
        ((0.90, 0.90), (0.70, 0.70), True),
    ],
)
def test_the_mean_must_not_drop(aucs, before, blessed):
    few = result("Hernia", 0.1, positives=2)  # isn't part of the comparison
    candidate = {TEST: (result("Edema", aucs[0]), result("Mass", aucs[1]), few)}
    baseline = {
        TEST: (
            result("Mass", before[1]),  # another order
            result("Edema", before[0]),
            result("Hernia", 0.99, positives=2),
        )
    }
    verdict = judge(candidate, LIMITS, baseline=baseline, baseline_uri="/models/7")
    assert verdict.blessed == blessed
    assert verdict.baseline == "/models/7"
    assert verdict.mean_auc_change == pytest.approx((sum(aucs) - sum(before)) / 2)
    if not blessed:
        assert verdict.reasons == (
            "The mean AUC is 0.025 below the last blessed model's; 0.020 is allowed "
            "(max_auc_drop).",
        )


def test_a_member_is_judged_by_its_mean_on_eval():
    limits = Limits(min_auc=0, min_positives=10, min_mean_auc=0.55)
    found = {
        "split=eval": (result("Edema", 0.45), result("Mass", 0.64)),
        TEST: (result("Edema", 0.7), result("Mass", 0.8)),
    }
    verdict = judge(found, limits, name="narrow", split="eval")
    assert (verdict.name, verdict.split) == ("narrow", "eval")
    assert verdict.mean_auc == verdict.mean_auc_of("eval") == pytest.approx(0.545)
    assert verdict.reasons == (
        "The gated classes' mean AUC is 0.545, 0.550 needed (min_mean_auc).",
    )
    assert verdict.results("test") == found[TEST]
    assert verdict.mean_auc_of("test") == pytest.approx(0.75)
    assert verdict.results("train") == ()


def test_a_split_without_images_is_an_error():
    with pytest.raises(CxrflowError, match="The eval split was not evaluated"):
        judge({TEST: (result(),)}, LIMITS, split="eval")


def test_a_bound_for_an_unknown_class_is_an_error():
    with pytest.raises(CxrflowError, match=r"min_auc_per_class names Oedema: not among"):
        judge(
            {TEST: (result("Edema"),)},
            Limits(min_positives=20, min_auc_per_class={"Oedema": 0.7}),
        )


@given(
    st.lists(
        st.tuples(st.floats(0, 1) | st.just(NAN), st.integers(0, 40), st.integers(0, 40)),
        min_size=1,
        max_size=5,
    ),
    st.floats(0, 1),
)
def test_blessed_means_that_every_gated_class_reaches_its_bound(classes, bound):
    results = tuple(result(f"c{i}", a, p, n) for i, (a, p, n) in enumerate(classes))
    verdict = judge({TEST: results}, Limits(min_positives=20, min_auc=bound, min_mean_auc=0))
    gated = [r for r in results if min(r.positives, r.negatives) >= 20]
    if verdict.blessed:
        assert gated
        assert all(r.auc >= bound for r in gated)
    else:
        assert not gated or not all(r.auc >= bound for r in gated)


def test_the_verdict_survives_its_file(tmp_path):
    results = (result("Edema", 0.9), result("Hernia", NAN, 0))
    slices = {TEST: results, "split=test,patient/sex=F": results, "split=eval": results}
    verdict = judge(slices, LIMITS, baseline={TEST: results}, synthetic=True)
    path = write_verdict(verdict, tmp_path)
    assert path == tmp_path / FILE_NAME
    assert "NaN" not in path.read_text()  # not JSON
    assert repr(read_verdict(path)) == repr(verdict)  # NaN != NaN, but prints the same


def test_reading_what_is_no_verdict(tmp_path):
    with pytest.raises(CxrflowError, match="the gate hasn't run"):
        read_verdict(tmp_path / FILE_NAME)
    for text in ("{", "[]", "{}", '{"classes": [{}]}'):
        (tmp_path / FILE_NAME).write_text(text)
        with pytest.raises(CxrflowError, match="is not a verdict"):
            read_verdict(tmp_path / FILE_NAME)
