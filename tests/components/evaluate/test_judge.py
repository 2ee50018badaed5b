"""What the gate blesses and refuses, and what it says."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from cxrflow.components.evaluate.evidence.judge import judge
from cxrflow.components.evaluate.evidence.references import judge_references
from cxrflow.components.evaluate.limits import FinalLimits
from cxrflow.components.evaluate.verdict import read_verdict, write_verdict
from cxrflow.schema.errors import CxrflowError
from tests.components.evaluate.evidence_maker import (
    CLASSES,
    evidence,
    results_of,
    scored,
    table,
)

LIMITS = FinalLimits(draws=200)


@pytest.fixture(scope="module")
def good():
    return judge(evidence(), LIMITS, name="ensemble")


def with_test(scores, **changes):
    found = evidence(test=scores, **changes)
    return replace(found, results={"split=test": results_of(scores)})


def test_a_good_model_is_blessed_and_what_was_not_judged_is_said(good) -> None:
    assert good.blessed and good.reasons == ()
    assert [item.status for item in good.classes] == ["passed", "passed", "not judged"]
    hernia = good.classes[2]
    assert (
        hernia.reason
        == f"{hernia.positive_patients} positive patients in the test split, 20 needed"
    )
    assert good.summary.startswith(
        "Blessed: 2 of 3 classes were judged; 1 had too few patients; their mean AUC is 0."
    )
    assert good.summary.endswith("on 900 images of 300 patients.")
    assert f"Hernia: {hernia.reason}" in good.not_judged
    assert any("last blessed model: there is none" in line for line in good.not_judged)
    assert any("linear probe" in line and "beaten" in line for line in good.judged_by)
    assert any("where right probabilities would show" in line for line in good.judged_by)
    assert 0 < good.judged_ece_by_chance == np.mean([one.ece_by_chance for one in good.judged])


def test_a_class_has_its_figures(good) -> None:
    scores = evidence().test
    edema = good.classes[0]
    auc = roc_auc_score(scores.images.labels[:, 0], scores.probabilities[:, 0])
    assert edema.auc.value == pytest.approx(auc) == pytest.approx(edema.delong.value)
    assert edema.auc.low < auc < edema.auc.high
    assert edema.delong.low == pytest.approx(edema.auc.low, abs=0.015)
    positive = scores.images.labels[:, 0] > 0
    assert edema.positive_patients == len(set(scores.images.patient_id[positive]))
    assert edema.brier.value < edema.brier_of_share
    assert good.judged_auc.value == pytest.approx(
        np.mean([item.auc.value for item in good.classes[:2]])
    )


def test_it_tells_the_differences_to_the_floor_and_the_best_member(good) -> None:
    told = [(one.split, one.name) for one in good.differences]
    of_eval = [("eval", name) for name in ("probe", "metadata", "strong")]
    assert told == [*of_eval, ("test", "probe"), ("test", "strong")]
    on_test, probe = evidence().test, evidence().floor_test["probe"].probabilities
    labels, own = on_test.images.labels, on_test.probabilities
    gaps = [
        roc_auc_score(labels[:, c], own[:, c]) - roc_auc_score(labels[:, c], probe[:, c])
        for c in range(3)
    ]
    assert good.differences[3].difference.value == pytest.approx(np.mean(gaps))
    assert good.differences[3].difference.low > 0


def test_the_verdict_survives_its_file(good, tmp_path) -> None:
    assert repr(read_verdict(write_verdict(good, tmp_path))) == repr(good)


def test_a_model_equal_to_the_probe_has_learned_nothing_more() -> None:
    found = judge(evidence(0.5, floor=0.5), LIMITS)
    assert not found.blessed
    (reason,) = [one for one in found.reasons if "probe" in one]
    assert reason.startswith("It has learned nothing more than the linear probe on frozen features")
    probe = next(item for item in found.floor if item.name == "probe")
    assert probe.required and not probe.beaten and probe.difference.low <= 0
    assert found.summary.startswith("Not blessed, ")


def test_the_floor_is_configurable_and_must_be_there() -> None:
    lax = FinalLimits(draws=200, must_beat=("metadata",))
    assert judge(evidence(0.7, floor=0.7), lax).blessed
    missing = replace(evidence(), floor={})
    assert judge(missing, LIMITS).reasons == (
        "the linear probe on frozen features was to be beaten and isn't computed (must_beat).",
        "sex, age and view alone was to be beaten and isn't computed (must_beat).",
    )
    assert judge(missing, FinalLimits(draws=200, must_beat=())).blessed


def test_of_few_patients_on_eval_nothing_is_beaten_however_narrow_the_interval() -> None:
    """All draws of one patient are alike."""
    whole = evidence(strength=1.5, floor=0.0)
    first = whole.eval.images.patient_id == "0"
    images = whole.eval.rows(first).images
    images = replace(images, labels=np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32))
    right = replace(whole.eval.rows(first), images=images, probabilities=images.labels)
    floor = {name: replace(right, probabilities=1 - right.probabilities) for name in whole.floor}
    members = {name: (right, test) for name, (_, test) in whole.members.items()}
    found = judge(replace(whole, eval=right, floor=floor, members=members), LIMITS)
    probe = next(item for item in found.floor if item.name == "probe")
    assert (probe.difference.low, probe.difference.high) == (1, 1)
    assert not probe.judged and not probe.beaten and not found.blessed
    too_few = "no class has 20 positive and as many negative patients on eval"
    assert (
        f"Whether it has learned more than the linear probe on frozen features isn't known: "
        f"{too_few} (must_beat, min_positive_patients)."
    ) in found.reasons
    assert f"against the linear probe on frozen features: {too_few}" in found.not_judged
    assert not any("linear probe" in line for line in found.judged_by)


@pytest.mark.parametrize("ruin", [lambda z: 6 * z, lambda z: z / 20, lambda z: z + 2])
def test_ruined_calibration_fails_at_equal_auc(ruin) -> None:
    scores = evidence().test
    ruined = replace(scores, probabilities=expit(ruin(scores.logits)).astype(np.float64))
    assert judge(with_test(scores), LIMITS).blessed
    found = judge(with_test(ruined), LIMITS)
    assert not found.blessed
    assert found.mean_auc == pytest.approx(judge(with_test(scores), LIMITS).mean_auc, abs=1e-3)
    assert all("ECE" in reason or "Brier" in reason for reason in found.reasons)


def test_an_ece_of_fewer_images_than_its_bins_can_tell_is_not_judged() -> None:
    """Each bin would hold one image, whose distance from its odds says nothing."""
    few = evidence().test.rows(np.arange(29))
    lax = FinalLimits(draws=200, max_ece=0.0, min_positive_patients=1, must_beat=(), min_auc=0)
    found = judge(with_test(few), lax)
    assert not any("ECE" in reason for reason in found.reasons)
    assert "calibration by ECE: 29 images, 30 needed" in found.not_judged
    assert not any("ECE" in line for line in found.judged_by)


def test_calibration_worse_than_the_last_blessed_models_fails() -> None:
    scores = evidence().test
    off = replace(scores, probabilities=expit(scores.logits * 2.5).astype(np.float64))
    lax = FinalLimits(draws=200, max_ece=1.0)
    assert judge(with_test(off), lax).blessed
    found = judge(with_test(off, last=scores), lax)
    assert not found.blessed and "ECE" in "".join(found.reasons)
    assert found.against_last["auc"].finding == "not worse"
    assert found.against_last["ece"].finding == "worse"


def test_worse_than_the_last_blessed_model_fails_and_equal_passes() -> None:
    images = table(900, 1)
    better, model = scored(images, 2.2, 9), scored(images, 1.2, 2)
    found = judge(with_test(model, last=better), LIMITS)
    assert not found.blessed and found.baseline == "/models/7"
    assert found.against_last["auc"].finding == "worse"
    assert found.classes[0].against_last["auc"].finding == "worse"
    assert "against the last blessed model, 0.050 allowed" in found.classes[0].reason
    assert found.classes[2].against_last == {}  # not judged
    same = judge(with_test(model, last=model), LIMITS)
    assert same.blessed
    assert {one.finding for one in same.against_last.values()} == {"not worse"}
    assert judge(with_test(better, last=model), LIMITS).blessed


def test_luck_is_no_reason_and_is_said_to_be_undecided() -> None:
    images = table(180, 1)  # 60 patients
    model, other = scored(images, 1.5, 2), scored(images, 1.5, 11)
    found = judge(with_test(model, last=other), LIMITS)
    assert not [one for one in found.reasons if "last blessed" in one]
    assert found.against_last["auc"].finding == "undecided"
    assert any("too few patients to tell" in line for line in found.not_judged)


def test_order_of_the_last_models_images_is_of_no_matter() -> None:
    images = table(300, 1)
    model, other = scored(images, 1.5, 2), scored(images, 1.6, 11)
    shuffled = other.rows(np.random.default_rng(0).permutation(300))
    one, two = (judge(with_test(model, last=last), LIMITS) for last in (other, shuffled))
    assert one.against_last == two.against_last
    strangers = scored(table(300, 8), 1.5, 2)
    with pytest.raises(CxrflowError, match="other images"):
        judge(with_test(model, last=strangers), LIMITS)


def test_broken_probabilities_fail_whatever_the_counts() -> None:
    scores = evidence().test
    broken = scores.probabilities.copy()
    broken[0, 2] = math.nan
    broken[:, 1] = 0.5
    found = judge(with_test(replace(scores, probabilities=broken)), LIMITS)
    assert [item.status for item in found.classes] == ["passed", "failed", "failed"]
    assert "the same probability for every image" in found.classes[1].reason
    assert "not finite" in found.classes[2].reason


def test_an_export_that_says_otherwise_than_the_scores_fails() -> None:
    found = evidence()
    other = tuple(replace(one, auc=one.auc - 0.1) for one in found.results["split=test"])
    verdict = judge(replace(found, results={"split=test": other}), LIMITS)
    assert not verdict.blessed and "they aren't of one model" in verdict.reasons[0]


def test_a_metric_that_was_asked_for_and_not_computed_fails(monkeypatch) -> None:
    from cxrflow.components.evaluate.evidence import figures

    nothing = lambda labels, p, draws: np.full(draws.times.shape[1], math.nan)  # noqa: E731
    monkeypatch.setattr(figures, "drawn_ece", nothing)
    found = judge(evidence(), LIMITS)
    assert found.reasons[0] == "Edema: ECE was asked for and isn't computed"
    assert judge(evidence(), FinalLimits(draws=200, metrics=("auc", "brier"))).blessed


def test_bars_of_classes_and_of_the_mean() -> None:
    found = judge(evidence(), FinalLimits(draws=200, min_auc_per_class={"Mass": 0.99}))
    assert found.reasons[0].startswith("Mass: AUC 0.8") and "0.990 needed" in found.reasons[0]
    found = judge(evidence(), FinalLimits(draws=200, min_mean_auc=0.99))
    assert "0.990 needed (min_mean_auc)" in found.reasons[0]
    with pytest.raises(CxrflowError, match="Oedema"):
        judge(evidence(), FinalLimits(draws=200, min_auc_per_class={"Oedema": 0.7}))


@pytest.mark.parametrize("case", ["no positives", "one patient", "few"])
def test_nothing_to_judge_by(case: str) -> None:
    images = table(9 if case == "few" else 300, 1)
    if case == "no positives":
        images = replace(images, labels=np.zeros_like(images.labels))
    if case == "one patient":
        images = replace(images, patient_id=np.array(["0"] * 300))
    found = judge(with_test(scored(images, 1.5, 2)), LIMITS)
    assert not found.blessed
    assert found.reasons[0].startswith("No class has 20 positive and as many negative patients")
    assert all(item.status == "not judged" for item in found.classes)
    assert all(group.status == "not judged" for group in found.subgroups)


def test_a_subgroup_fails_only_by_a_gap_that_is_large_and_no_chance() -> None:
    images = table(1800, 1)
    scores = scored(images, 1.6, 2)
    blind = scored(images, 0.01, 2)
    men = images.sex == "M"
    mixed = replace(
        scores, probabilities=np.where(men[:, None], blind.probabilities, scores.probabilities)
    )
    lax = FinalLimits(draws=200, max_ece=1.0, metrics=("auc",))
    found = judge(with_test(mixed), lax)
    groups = {(group.attribute, group.group): group for group in found.subgroups}
    assert groups["sex", "M"].status == "failed" and groups["sex", "F"].status == "passed"
    assert groups["sex", "M"].gap.high < -0.1
    assert groups["sex", "M"].gap.value == pytest.approx(-groups["sex", "F"].gap.value)
    assert set(groups["sex", "M"].classes) == {"Edema", "Mass"}
    assert any(reason.startswith("sex M: mean AUC 0.") for reason in found.reasons)
    wide = FinalLimits(draws=200, metrics=("auc",), max_subgroup_gap=0.9)
    assert judge(with_test(mixed), wide).blessed
    assert all(g.status == "passed" for g in judge(evidence(), LIMITS).subgroups)


def test_a_described_source_s_further_groups_are_compared_as_ours() -> None:
    images = table(1800, 1)
    ward = np.where(images.sex == "M", "Icu", "Lab")  # so that a known answer is there
    scores = scored(replace(images, slices={"ward": ward}), 1.6, 2)
    blind = scored(images, 0.01, 2)
    mixed = replace(
        scores,
        probabilities=np.where((ward == "Icu")[:, None], blind.probabilities, scores.probabilities),
    )
    limits = FinalLimits(draws=200, max_ece=1.0, metrics=("auc",))
    found = judge(with_test(mixed), limits, slices=("ward",))
    groups = {(group.attribute, group.group): group for group in found.subgroups}
    assert groups["ward", "Icu"].status == "failed" and groups["ward", "Lab"].status == "passed"
    assert groups["ward", "Icu"].gap.value == groups["sex", "M"].gap.value
    assert any(reason.startswith("ward Icu: mean AUC 0.") for reason in found.reasons)
    assert not any(group.attribute == "ward" for group in judge(with_test(mixed), limits).subgroups)


def test_published_figures_are_bounds_only_for_the_same_patients() -> None:
    (found,) = judge_references(("Wang 2017",), "official test list", 25_596, synthetic=False)
    assert found.comparable
    for kind, images, synthetic, words in (
        ("official test list", 695, False, "this run has 695"),
        ("hash of patients", 25_596, False, "by hash of patients"),
        ("official test list", 25_596, True, "synthetic"),
    ):
        (found,) = judge_references(("Wang 2017",), kind, images, synthetic)
        assert not found.comparable and words in found.reason
    (found,) = judge_references(("CheXNet 2017",), "official test list", 25_596, synthetic=False)
    assert not found.comparable and "random patients" in found.reason
    with pytest.raises(CxrflowError, match=r"no source 'Wang', did you mean Wang 2017\?"):
        judge_references(("Wang",), "official test list", 25_596, synthetic=False)


def test_a_comparable_reference_raises_the_bar(monkeypatch) -> None:
    from cxrflow.components.evaluate.evidence import references

    monkeypatch.setattr(references, "OFFICIAL_IMAGES", 900)
    limits = FinalLimits(draws=200, references=("Wang 2017",))
    found = judge(evidence(0.8), limits, split_kind="official test list")
    assert found.classes[0].min_auc == 0.805  # Edema, Wang et al. 2017
    assert found.classes[0].status == "failed"
    told = judge(evidence(0.8), limits)
    assert told.classes[0].min_auc == 0.5
    assert any("Wang 2017 as a lower bound: not comparable" in one for one in told.not_judged)


def test_evidence_about_other_classes_is_an_error() -> None:
    found = evidence()
    with pytest.raises(CxrflowError, match="other classes"):
        judge(replace(found, results={"split=test": found.results["split=test"][:2]}), LIMITS)
    with pytest.raises(CxrflowError, match="was not evaluated"):
        judge(replace(found, results={}), LIMITS)
    assert found.test.classes == CLASSES
