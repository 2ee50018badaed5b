"""What the summary advises fits the reason."""

from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.components.evaluate.results import ClassResult
from cxrflow.components.evaluate.statistics.draws import Estimate
from cxrflow.components.evaluate.verdict import (
    Change,
    ClassVerdict,
    FloorVerdict,
    SubgroupVerdict,
    Verdict,
)
from cxrflow.components.publish.report import CheckReport
from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports.next_steps import next_steps, tensorboard

ROOT = Path("runs/my root")
AGAIN = "cxrflow run"
GOOD = ClassResult("Mass", 30, 90, 0.9, 0.7, 0.25, 0.25, 1.0, 0.1, 0.8, 0.02, 0.03, 0.11)
WORSE = Change(-0.1, -0.2, -0.05, 0.02, "worse")


def judged(result: ClassResult = GOOD, reason: str = "", **changes: object) -> Verdict:
    """On one class, of 30 positive patients, that fails where there is a reason."""
    item = ClassVerdict(
        result,
        "failed" if reason else "passed",
        reason,
        0.7,
        positive_patients=result.positives,
        negative_patients=90,
    )
    found = Verdict(
        "m", "test", True, (), True, (item,), mean_auc=result.auc, baseline="", slices={}
    )
    return replace(found, **{"blessed": not reason, "reasons": (reason,) * bool(reason), **changes})


def refused(*reasons: str, **changes: object) -> Verdict:
    return judged(blessed=False, reasons=reasons, **changes)


def run(**changes: object) -> Run:
    fields = {
        "config": {},
        "data_dir": "/data",
        "synthetic": True,
        "seconds": 1.0,
        "executed": [],
        "cached": [],
        "artifacts": {},
        "pushed": "",
        "log": "log",
    }
    return Run(**{**fields, **changes})


def advice(found: Verdict, served: CheckReport | None = None, **changes: object) -> list[str]:
    return next_steps(run(**changes), found, served, ROOT, AGAIN)


@pytest.mark.parametrize(
    ("found", "words", "not_words"),
    [
        (
            judged(replace(GOOD, auc=0.6), "AUC 0.600, 0.700 needed"),
            ["train.epochs", "evaluate.min_auc=AUC"],
            ["min_pos"],
        ),
        (
            replace(
                refused("No class has ... (min_positive_patients)."),
                classes=judged(replace(GOOD, positives=2)).classes,
            ),
            ["more X-rays", "Mass, has 2 patients in test", "evaluate.min_positive_patients=2"],
            ["epochs", "min_auc"],
        ),
        (
            replace(
                refused("No class has ... (min_positive_patients)."),
                classes=judged(replace(GOOD, positives=0)).classes,
            ),
            ["more X-rays are needed"],
            ["epochs", "--set"],
        ),
        (judged(replace(GOOD, prediction_range=0.0), "alike"), ["learning_rate"], ["min_auc"]),
        (
            judged(replace(GOOD, mean_prediction=float("nan")), "NaN"),
            ["learning_rate"],
            ["min_auc"],
        ),
        (judged(GOOD, "ECE 0.300, 0.100 allowed"), ["calibrate.method", "max_ece"], ["epochs"]),
        (
            refused("In the mean ...", against_last={"auc": WORSE}),
            ["nothing to do", "evaluate.max_*_drop"],
            ["epochs"],
        ),
        (
            refused("... (min_mean_auc)."),
            ["train.epochs", "evaluate.min_mean_auc"],
            ["min_auc=AUC or", "min_positives"],
        ),
        (
            refused(
                "It has learned nothing more ...",
                floor=(FloorVerdict("probe", 0.9, 0.9, Estimate(0, -0.1, 0.1), True, False),),
            ),
            ["better recipe", "must_beat"],
            ["epochs"],
        ),
        (
            refused(
                "Whether it has learned more ...",
                floor=(
                    FloorVerdict("probe", 0.5, 0.9, Estimate(0.4, 0.4, 0.4), True, False, False),
                ),
            ),
            ["more X-rays", "min_positive_patients"],
            ["better recipe", "epochs"],
        ),
        (
            refused(
                "sex M: ...", subgroups=(SubgroupVerdict("sex", "M", 9, 9, "failed", "a gap"),)
            ),
            ["more X-rays of sex M", "max_subgroup_gap"],
            ["epochs"],
        ),
    ],
    ids=[
        "auc",
        "few",
        "none",
        "constant",
        "nan",
        "ece",
        "last",
        "mean",
        "floor",
        "few_on_eval",
        "subgroup",
    ],
)
def test_each_reason_has_its_remedy(found: Verdict, words: list[str], not_words: list[str]) -> None:
    assert not found.blessed
    text = "\n".join(advice(found))
    assert all(word in text for word in words)
    assert not any(word in text for word in not_words)


@pytest.mark.parametrize(
    ("config", "epochs"),
    [
        ({"train": {"head": "probe"}}, False),
        ({"train": {"head": "probe"}, "models": {}}, False),
        ({"train": {"head": "attention"}, "models": {"a": {"head": "probe"}}}, False),
        ({"models": {"a": {"head": "probe"}, "b": {"head": "simple"}}}, True),
    ],
)
def test_no_epochs_are_advised_where_all_are_probes(config: dict, epochs: bool) -> None:
    for result in (replace(GOOD, auc=0.6), replace(GOOD, prediction_range=0.0)):
        (line,) = advice(judged(result, "a reason"), config=config)
        assert ("--set train.epochs=N" in line) == epochs
        assert ("learn from more X-rays" in line) != epochs
        assert "train.learning_rate" not in line or epochs
    (line,) = advice(judged(replace(GOOD, auc=0.6), "a reason"), config=config)
    assert line.count(AGAIN) == 1 and line.endswith("--set evaluate.min_auc=AUC")


def test_a_remedy_is_told_once() -> None:
    found = judged(replace(GOOD, auc=0.6), "AUC 0.600, 0.700 needed")
    assert len(advice(replace(found, classes=found.classes * 2))) == 1


def test_a_model_that_failed_its_serving_check_needs_no_training() -> None:
    (line,) = advice(judged(GOOD), CheckReport(reasons=["too slow"]))
    assert "serving_check" in line and "epochs" not in line


def test_a_pushed_model_has_commands_that_can_be_typed() -> None:
    dashboard, serve = advice(judged(GOOD), pushed="/v/1")
    assert dashboard.endswith("cxrflow dashboard --root 'runs/my root'")
    assert serve.endswith("cxrflow serve --root 'runs/my root'")
    assert "baseline" in advice(judged(GOOD), pushed="/v/1", synthetic=False)[1]


def test_tensorboard_opens_all_members_and_nothing_else() -> None:
    artifacts = {
        f"Trainer.{n}": {"model_run": f"/r/artifacts/Trainer.{n}/model_run/1"} for n in "ab"
    }
    assert tensorboard(run(artifacts=artifacts)).endswith("tensorboard --logdir /r/artifacts")
    del artifacts["Trainer.b"]
    assert tensorboard(run(artifacts=artifacts)).endswith("/Trainer.a/model_run/1")
