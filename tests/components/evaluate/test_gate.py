"""A member's gate: per-class AUCs on eval."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.components.evaluate.gate import judge
from cxrflow.components.evaluate.limits import MemberLimits
from cxrflow.components.evaluate.results import ClassResult
from cxrflow.components.evaluate.verdict import FILE_NAME, read_verdict, write_verdict
from cxrflow.schema.errors import CxrflowError

NAN = math.nan

LIMITS = MemberLimits(min_positives=20, min_auc=0.5)
EVAL = "split=eval"


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
    ("found", "status", "reason"),
    [
        (result(auc=0.8), "passed", ""),
        (result(auc=0.6), "passed", ""),  # the bound itself
        (result(auc=0.5999), "failed", "AUC 0.600, 0.600 needed"),
        (result("Edema", auc=0.8), "failed", "AUC 0.800, 0.850 needed"),
        (result(auc=0.2, positives=19), "not judged", "19 positives in the eval split, 20"),
        (result(auc=NAN, positives=0), "not judged", "0 positives in the eval split, 20"),
        (result(auc=0.2, negatives=3), "not judged", "3 negatives in the eval split, 20"),
        (result(auc=0.8, positives=20), "passed", ""),
        (result(auc=NAN), "failed", "AUC nan"),  # not computed
        (result(auc=NAN, mean=NAN), "failed", "its probabilities are not finite"),
        (result(auc=NAN, mean=NAN, positives=1), "failed", "its probabilities are not finite"),
        (result(auc=0.5, spread=0.0), "failed", "the same probability for every image"),
    ],
)
def test_class_by_class(found, status, reason):
    limits = MemberLimits(
        min_positives=20,
        min_auc=0.6,
        min_auc_per_class={found.name: 0.85} if found.name == "Edema" else {},
    )
    verdict = judge({EVAL: (found,)}, limits)
    (class_verdict,) = verdict.classes
    assert class_verdict.status == status
    assert class_verdict.reason.startswith(reason)
    assert bool(class_verdict.reason) == (status != "passed")
    assert verdict.blessed == (status == "passed")


def test_blessed_with_classes_that_are_not_judged():
    results = (result("Edema", auc=0.9), result("Mass", auc=0.7), result("Hernia", NAN, 0))
    verdict = judge({EVAL: results, "split=eval,view=AP": results[:1]}, LIMITS, synthetic=True)
    assert verdict.blessed
    assert verdict.reasons == ()
    assert verdict.not_judged == ("Hernia: 0 positives in the eval split, 20 needed",)
    assert verdict.synthetic
    assert verdict.mean_auc == pytest.approx(0.8)  # Hernia has none
    assert verdict.slices == {"split=eval,view=AP": results[:1]}


def test_one_failing_class_is_enough_and_all_are_named():
    results = (result("Edema", 0.9), result("Mass", 0.4), result("Nodule", 0.3))
    verdict = judge({EVAL: results}, LIMITS)
    assert not verdict.blessed
    assert verdict.reasons == ("Mass: AUC 0.400, 0.500 needed", "Nodule: AUC 0.300, 0.500 needed")


def test_without_a_class_to_judge_nothing_is_blessed():
    verdict = judge({EVAL: (result(positives=5), result("Edema", positives=7))}, LIMITS)
    assert not verdict.blessed
    assert verdict.reasons == (
        "No class has 20 positives and as many negatives in the eval split: nothing to judge by "
        "(min_positives).",
    )


def test_a_member_is_judged_by_its_mean_on_eval():
    limits = MemberLimits(min_mean_auc=0.55)
    found = {
        EVAL: (result("Edema", 0.45), result("Mass", 0.64)),
        "split=test": (result("Edema", 0.7), result("Mass", 0.8)),
    }
    verdict = judge(found, limits, name="narrow")
    assert (verdict.name, verdict.split) == ("narrow", "eval")
    assert verdict.mean_auc == verdict.mean_auc_of("eval") == pytest.approx(0.545)
    assert verdict.reasons == (
        "The judged classes' mean AUC is 0.545, 0.550 needed (min_mean_auc).",
    )
    assert verdict.results("test") == found["split=test"]
    assert verdict.mean_auc_of("test") == pytest.approx(0.75)
    assert verdict.results("train") == ()


def test_a_split_without_images_is_an_error():
    with pytest.raises(CxrflowError, match="The eval split was not evaluated"):
        judge({"split=test": (result(),)}, LIMITS)


def test_a_bound_for_an_unknown_class_is_an_error():
    with pytest.raises(CxrflowError, match=r"min_auc_per_class names Oedema: not among"):
        judge({EVAL: (result("Edema"),)}, MemberLimits(min_auc_per_class={"Oedema": 0.7}))


@given(
    st.lists(
        st.tuples(st.floats(0, 1) | st.just(NAN), st.integers(0, 40), st.integers(0, 40)),
        min_size=1,
        max_size=5,
    ),
    st.floats(0, 1),
)
def test_blessed_means_that_every_judged_class_reaches_its_bound(classes, bound):
    results = tuple(result(f"c{i}", a, p, n) for i, (a, p, n) in enumerate(classes))
    limits = MemberLimits(min_positives=20, min_auc=bound, min_mean_auc=0)
    verdict = judge({EVAL: results}, limits)
    judged = [r for r in results if min(r.positives, r.negatives) >= 20]
    if verdict.blessed:
        assert judged
        assert all(r.auc >= bound for r in judged)
    else:
        assert not judged or not all(r.auc >= bound for r in judged)


def test_the_verdict_survives_its_file(tmp_path):
    results = (result("Edema", 0.9), result("Hernia", NAN, 0))
    slices = {EVAL: results, "split=eval,patient/sex=F": results, "split=test": results}
    verdict = judge(slices, LIMITS, synthetic=True)
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
