"""What the summary advises fits the reason."""

from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.components.evaluate.gate import Limits, judge
from cxrflow.components.evaluate.results import ClassResult, whole
from cxrflow.components.evaluate.verdict import Verdict
from cxrflow.components.publish.report import CheckReport
from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports.next_steps import next_steps, tensorboard

ROOT = Path("runs/my root")
AGAIN = "cxrflow run"
LIMITS = Limits(min_positives=20, min_auc=0.7)
GOOD = ClassResult("Mass", 30, 90, 0.9, 0.7, 0.25, 0.25, 1.0, 0.1, 0.8, 0.02, 0.03, 0.11)


def judged(result: ClassResult, before: float | None = None, limits: Limits = LIMITS) -> Verdict:
    baseline = {whole("test"): (replace(GOOD, auc=before),)} if before else None
    return judge({whole("test"): (result,)}, limits, baseline=baseline)


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
        (judged(replace(GOOD, auc=0.6)), ["train.epochs", "evaluate.min_auc=AUC"], ["min_pos"]),
        (
            judged(replace(GOOD, positives=2)),
            ["more X-rays", "Mass, has 2 in test", "evaluate.min_positives=2"],
            ["epochs", "min_auc"],
        ),
        (judged(replace(GOOD, positives=0)), ["more X-rays are needed"], ["epochs", "--set"]),
        (judged(replace(GOOD, prediction_range=0.0)), ["learning_rate"], ["min_auc"]),
        (judged(replace(GOOD, mean_prediction=float("nan"))), ["learning_rate"], ["min_auc"]),
        (
            judged(replace(GOOD, auc=0.75), 0.95, Limits(min_positives=20, max_auc_drop=1)),
            ["nothing to do", "evaluate.max_class_auc_drop"],
            ["epochs"],
        ),
        (
            judged(replace(GOOD, auc=0.85), 0.9),
            ["nothing to do", "evaluate.max_auc_drop"],
            ["epochs"],
        ),
        (
            judged(GOOD, limits=Limits(min_positives=20, min_mean_auc=0.95)),
            ["train.epochs", "evaluate.min_mean_auc"],
            ["min_auc=AUC or", "min_positives"],
        ),
    ],
    ids=["auc", "few", "none", "constant", "nan", "class drop", "mean drop", "mean"],
)
def test_each_reason_has_its_remedy(found: Verdict, words: list[str], not_words: list[str]) -> None:
    assert not found.blessed
    text = "\n".join(advice(found))
    assert all(word in text for word in words)
    assert not any(word in text for word in not_words)


def test_a_remedy_is_told_once() -> None:
    bad = replace(GOOD, auc=0.6)
    found = judge({whole("test"): (bad, replace(bad, name="Nodule"))}, LIMITS)
    assert len(advice(found)) == 1


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
