"""What `cxrflow baseline` reads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cxrflow.components.evaluate.verdict import write_verdict
from cxrflow.components.score.files import write_scores
from cxrflow.pipeline.cli.app import app
from cxrflow.pipeline.output import print_table
from cxrflow.pipeline.reports.summary import _class_table
from tests.components.score.test_score_files import scores
from tests.pipeline.fake_tfx import verdict


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished run of two classes, with its baselines."""
    folder, gate = tmp_path / "artifacts/Baselines/scores/4", tmp_path / "artifacts/Gate/verdict/9"
    for name in ("probe", "metadata", "shuffled"):
        write_scores([scores("test", name, images=40)], folder)
    gate.mkdir(parents=True)
    found = verdict()
    classes = tuple(c for c in found.classes if c.result.name in ("Edema", "Mass"))
    write_verdict(type(found)(**{**vars(found), "classes": classes}), gate)
    record = {
        "config": {},
        "data_dir": "/data",
        "synthetic": True,
        "seconds": 1.0,
        "executed": [],
        "cached": [],
        "artifacts": {"Baselines": {"scores": str(folder)}, "Gate": {"verdict": str(gate)}},
        "pushed": "",
        "log": "log",
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    return tmp_path


def test_the_runs_own_baselines_are_shown(root: Path) -> None:
    found = CliRunner().invoke(app, ["baseline", "--root", str(root)])
    assert found.exit_code == 0, found.output
    for text in ("model", "probe", "metadata", "shuffled", "Edema", "Mass", "mean", "synthetic"):
        assert text in found.output


def test_class_names_are_no_markup_of_the_terminal() -> None:
    odd = ("Mass [left]", "Air [/b]")
    found = verdict()
    classes = tuple(
        replace(one, result=replace(one.result, name=name), status="failed", reason=f"{name}: why")
        for one, name in zip(found.classes, odd, strict=False)
    )
    console = Console(width=200)
    with console.capture() as captured:
        print_table(console, _class_table(replace(found, classes=classes), ">="))
    assert all(captured.get().count(name) == 2 for name in odd)


def test_a_run_of_an_older_version_says_so(root: Path) -> None:
    record = json.loads((root / "run.json").read_text())
    del record["artifacts"]["Baselines"]
    (root / "run.json").write_text(json.dumps(record))
    found = CliRunner().invoke(app, ["baseline", "--root", str(root)])
    assert "computed no baselines: run the pipeline again" in str(found.exception)


def test_aucs_are_those_of_the_scores(root: Path) -> None:
    from sklearn.metrics import roc_auc_score

    from cxrflow.pipeline.record import Run
    from cxrflow.pipeline.reports.baseline import baselines

    probe, *_ = baselines(Run.read(root))
    expected = scores("test", "probe", images=40)
    for c, name in enumerate(expected.classes):
        known = expected.known(c)
        truth = expected.images.labels[known, c]
        auc = roc_auc_score(truth, expected.probabilities[known, c])
        assert probe.test_auc[name] == auc
    assert probe.test_mean_auc == pytest.approx(np.mean(list(probe.test_auc.values())))
