"""The exported ensemble against the formula from members' own outputs, and its report."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from tests.support.nodes import write_verdict_on
from tests.support.tflite import assert_pixels_convert

pytestmark = pytest.mark.tf

CLASSES = ["Bright", "Noisy", "Absent"]
NAMES = ["attentive", "plain"]
METHODS = ["mean", "mean_logits", "weighted", "hard_vote", "max_vote", "stacked"]


def serve(folder: Path, signature: str = "serving_default", **inputs: list[bytes]) -> dict:
    import tensorflow as tf

    function = tf.saved_model.load(str(folder)).signatures[signature]
    return function(**{name: tf.constant(values) for name, values in inputs.items()})


def model_json(folder: Path) -> dict:
    return json.loads((folder / "assets.extra" / "model.json").read_text())


@pytest.fixture(scope="module")
def members(made) -> list[dict[str, np.ndarray]]:
    """What each member's own `attention` signature says about the test images."""
    folders = [made.root / "models" / name / "Format-Serving" for name in NAMES]
    return [serve(folder, "attention", image_bytes=made.pngs) for folder in folders]


@pytest.fixture(scope="module")
def probabilities(members) -> np.ndarray:
    """[M, N, C] of the test images."""
    return np.array([member["probabilities"] for member in members], np.float64)


@pytest.fixture(scope="module")
def best(made, run_ensemble, tmp_path_factory) -> tuple[Path, Path]:
    """What the executor makes of all members: model and report."""
    return run_ensemble(
        tmp_path_factory.mktemp("best"),
        [made.root / "models" / name for name in NAMES],
        [made.root / "verdicts" / name for name in reversed(NAMES)],
        "best",
    )


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """(folder, combination, calibration) of each method, made when first asked for."""
    from cxrflow.components.ensemble.compare import compare
    from cxrflow.components.ensemble.graph import Members, export_ensemble
    from cxrflow.components.ensemble.members import read_members
    from cxrflow.components.ensemble.predict import predict
    from cxrflow.components.ensemble.settings import EnsembleConfig
    from cxrflow.components.model.calibration import fit
    from cxrflow.schema.model_json import CompactFormat

    read, _ = read_members(
        [made.root / "models" / name / "Format-Serving" for name in NAMES],
        [made.root / "verdicts" / name for name in NAMES],
        CLASSES,
    )
    members = Members(read)
    compact = CompactFormat(64, "jpeg", 95)
    predictions = {
        split: predict(members, [str(made.root / f"examples/Split-{split}/data")], compact, 32)
        for split in ("eval", "test")
    }
    methods = compare(NAMES, predictions, EnsembleConfig()).methods
    known = {}

    def export(method: str):
        if method not in known:
            folder = tmp_path_factory.mktemp(method)
            calibration = fit(methods[method].eval_log_odds, predictions["eval"].labels)
            combination = methods[method].combination
            export_ensemble(members, combination, calibration, compact, folder)
            known[method] = folder, combination, calibration
        return known[method]

    return export


def formula(combination, p: np.ndarray) -> np.ndarray:
    """The combined log-odds [N, C], in float64, from members' probabilities [M, N, C]."""
    match combination.method:
        case "mean":
            return logit(p.mean(axis=0))
        case "mean_logits":
            return logit(p).mean(axis=0)
        case "weighted":
            return logit(np.tensordot(combination.weights, p, axes=1))
        case "max_vote":
            return logit(p.max(axis=0))
        case "hard_vote":
            votes = (p >= expit(combination.thresholds)[:, None]).sum(axis=0)
            return np.log((votes + 0.5) / (len(p) - votes + 0.5))
        case "stacked":
            return (logit(p) * combination.coefficients[:, None]).sum(axis=0) + (
                combination.intercepts
            )


@pytest.mark.parametrize("method", METHODS)
def test_outputs_equal_the_formula_in_numpy(made, probabilities, exported, method):
    folder, combination, calibration = exported(method)
    assert combination.method == method
    log_odds = formula(combination, probabilities)
    served = serve(folder, image_bytes=made.pngs)
    expected = expit(calibration.slope * log_odds + calibration.intercept)
    assert np.ptp(expected, axis=0)[:2].min() > 0.01  # it isn't a constant
    np.testing.assert_allclose(served["probabilities"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(served["logits"], log_odds, rtol=1e-4, atol=1e-4)


def test_hard_vote_says_votes_and_majority(made, probabilities, exported):
    folder, combination, _ = exported("hard_vote")
    votes = (probabilities >= expit(combination.thresholds)[:, None]).mean(axis=0)
    served = serve(folder, image_bytes=made.pngs)
    np.testing.assert_allclose(served["votes"], votes, atol=1e-6)
    np.testing.assert_array_equal(served["majority"], votes > 0.5)
    assert 0 < np.mean(served["majority"]) < 1


def test_every_signature_is_there_and_says_the_same(made, exported):
    import tensorflow as tf

    folder, _, _ = exported("stacked")
    signatures = tf.saved_model.load(str(folder)).signatures
    found = {
        name: {key: (v.dtype, v.shape.as_list()) for key, v in s.structured_outputs.items()}
        for name, s in signatures.items()
    }
    rows = (tf.float32, [None, 3])
    scores = {"probabilities": rows, "logits": rows}
    attention = {"attention": (tf.float32, [None, 8, 8, 3])}
    assert found == {
        "serving_default": scores,
        "examples": scores,
        "transformed_examples": scores,
        "attention": {"probabilities": rows} | attention,
        "pixels": {"probabilities": rows},
        "network": scores | attention,
    }
    served = signatures["serving_default"](image_bytes=tf.constant(made.pngs))["probabilities"]
    for name, values in (("examples", made.raw), ("transformed_examples", made.transformed)):
        other = signatures[name](examples=tf.constant(values))["probabilities"]
        np.testing.assert_allclose(other, served, atol=1e-5)


def test_attention_is_the_weighted_mean_of_the_maps(made, members, exported):
    folder, combination, _ = exported("weighted")
    weights = combination.weights
    assert weights.sum() == pytest.approx(1)
    assert np.ptp(weights) > 0.01
    # The first has one map for all classes, the second one a class.
    one, by_class = (member["attention"].numpy() for member in members)
    expected = weights[0] * one[..., None] + weights[1] * by_class
    found = serve(folder, "attention", image_bytes=made.pngs)["attention"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_maps_of_other_sizes_are_resized_to_the_finest():
    import tensorflow as tf

    from cxrflow.components.ensemble.graph import mean_map

    fine = np.zeros((1, 4, 4), np.float32)
    fine[0, 1, 2] = 1
    maps = [tf.fill([1, 2, 2], 0.5), tf.constant(fine)]
    expected = np.full((1, 4, 4), 0.125)
    expected[0, 1, 2] += 0.75
    np.testing.assert_allclose(mean_map(maps, [0.25, 0.75]), expected)


def test_pixels_converts_to_tflite(exported):
    assert_pixels_convert(exported("weighted")[0])


def test_report_scores_everyone_and_what_was_chosen_on_eval_is_exported(best):
    from cxrflow.components.ensemble import settings

    model, folder = best
    report = json.loads((folder / "ensemble.json").read_text())
    described = model_json(model)
    assert report["methods"] == list(settings.METHODS)
    assert report["synthetic"] is True
    assert report["left_out"] == []
    for split in ("eval", "test"):
        assert set(report["scores"][split]) == {*NAMES, *settings.METHODS}
        for aucs in report["scores"][split].values():
            assert aucs["Absent"] is None
            assert 0 <= aucs["Bright"] <= 1
    assert "cross-fitting by patient" in report["eval_note"]
    assert report["chosen"] in METHODS
    assert described["ensemble"]["method"] == report["chosen"]
    assert described["members"] == report["members"]
    assert [m["name"] for m in report["members"]] == NAMES


def test_the_first_member_that_tells_what_is_no_x_ray_speaks_for_all(best, made):
    model, _ = best
    assert model_json(model)["out_of_distribution"]["threshold"] == 41.0  # the second member's
    for signature in ("serving_default", "attention"):
        found = serve(model, signature, image_bytes=made.pngs)["out_of_distribution"]
        alone = serve(made.root / "models" / NAMES[1] / "Format-Serving", image_bytes=made.pngs)[
            "out_of_distribution"
        ]
        np.testing.assert_allclose(found, alone)
        assert np.ptp(found) > 1


def test_model_json_and_warm_up(best, made):
    model, _ = best
    described = model_json(model)
    assert (described["name"], described["classes"]) == ("ensemble", CLASSES)
    assert (described["data"], described["code"], described["synthetic"]) == (
        "data-1",
        "code-1",
        True,
    )
    assert set(described["calibration"]) == set(CLASSES)
    assert described["thresholds"]["Absent"] is None
    assert described["thresholds"]["Bright"]["sensitivity"]["sensitivity"] >= 0.9
    assert described["thresholds"]["Bright"]["specificity"]["specificity"] >= 0.8
    assert (model / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 1000


def test_a_member_that_failed_its_gate_is_named_and_not_asked(
    made, probabilities, run_ensemble, tmp_path
):
    write_verdict_on(tmp_path / "plain", "plain", "Bright: AUC 0.450, 0.500 needed")
    model, folder = run_ensemble(
        tmp_path,
        [made.root / "models" / name for name in NAMES],
        [tmp_path / "plain", made.root / "verdicts" / "attentive"],
        "best",
    )
    report = json.loads((folder / "ensemble.json").read_text())
    assert report["left_out"] == [{"name": "plain", "reason": "Bright: AUC 0.450, 0.500 needed"}]
    assert report["chosen"] == "attentive"
    assert report["methods"] == []
    assert "alone" in report["eval_note"]
    (member,) = model_json(model)["members"]
    assert (member["name"], member["weight"]) == ("attentive", 1)
    logits = serve(model, image_bytes=made.pngs)["logits"]
    np.testing.assert_allclose(expit(logits), probabilities[0], rtol=0, atol=1e-5)


def test_scores_of_all_models_are_what_the_exported_ones_say(made, probabilities, best):
    from cxrflow.components.score.files import read_scores, scored_models

    folder, report = best
    scores = report.parent / "scores"
    assert scored_models(scores) == sorted([*NAMES, "ensemble"])
    for i, name in enumerate(NAMES):
        found = read_scores(scores, name, "test")
        np.testing.assert_allclose(found.probabilities, probabilities[i], atol=1e-5)
    found = read_scores(scores, "ensemble", "test")
    served = serve(folder, image_bytes=made.pngs)
    np.testing.assert_allclose(found.probabilities, served["probabilities"], atol=1e-5)
    np.testing.assert_allclose(found.logits, served["logits"], rtol=1e-4, atol=1e-4)
    assert found.classes == tuple(CLASSES) and found.synthetic
    assert found.images.image_id.tolist() == [f"{i}.png" for i in range(20)]
    assert found.images.patient_id[:3].tolist() == ["0", "0", "1"]
    assert found.images.labels.dtype == np.float32 and found.images.labels.sum(axis=0)[2] == 0
    assert len(read_scores(scores, "ensemble", "eval").images) == 80


def test_images_are_known_without_asking_members(made):
    from cxrflow.components.ensemble.members import read_members
    from cxrflow.components.ensemble.predict import not_asked

    read, _ = read_members(
        [made.root / "models" / name / "Format-Serving" for name in NAMES],
        [made.root / "verdicts" / name for name in NAMES],
        CLASSES,
    )
    found = not_asked(read, [str(made.root / "examples" / "Split-test" / "data")], len(CLASSES))
    assert found.log_odds.shape == (2, 20, 3) and np.isnan(found.log_odds).all()
    assert found.image_id.tolist() == [f"{i}.png" for i in range(20)]
    assert found.labels.shape == (20, 3) and found.patients[:3].tolist() == ["0", "0", "1"]


def test_the_scorer_says_what_the_ensemble_says(made, best, tmp_path):
    from cxrflow.components.score.files import read_scores, write_scores
    from cxrflow.components.score.predict import score_model

    folder, report = best
    files = {"test": [str(made.root / "examples" / "Split-test" / "data")]}
    scored = score_model(
        folder, files, name="ensemble", classes=CLASSES, synthetic=True, batch_size=8
    )
    write_scores([*scored], tmp_path)
    again = read_scores(tmp_path, "ensemble", "test")
    before = read_scores(report.parent / "scores", "ensemble", "test")
    np.testing.assert_allclose(again.probabilities, before.probabilities, atol=1e-5)
    assert (again.images.image_id == before.images.image_id).all()
    assert (again.images.labels == before.images.labels).all()
