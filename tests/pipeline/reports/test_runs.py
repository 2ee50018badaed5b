"""`cxrflow runs list` and `cxrflow models compare`."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrflow.components.evaluate.verdict import Verdict, write_verdict
from cxrflow.components.publish.push import push
from cxrflow.pipeline.cli import app
from cxrflow.pipeline.reports.compare import compare
from cxrflow.pipeline.reports.runs import find_runs
from cxrflow.pipeline.run import Run
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.versions import Labels, write_labels


def make_run(root: Path, mean_auc: float, blessed: bool, finished: int) -> None:
    folder = root / "verdict"
    folder.mkdir(parents=True)
    write_verdict(Verdict("m", "test", blessed, (), True, (), mean_auc, "", {}), folder)
    Run(
        config={},
        data_dir="",
        synthetic=True,
        seconds=61.4,
        executed=[],
        cached=[],
        artifacts={"Gate": {"verdict": str(folder)}, "Trainer.m": {"model": ""}},
        pushed=str(root / "serving" / "cxrflow" / "17") if blessed else "",
        log="",
    ).write(root)
    os.utime(root / "run.json", (finished, finished))


def test_runs_newest_first_with_what_can_not_be_read(tmp_path) -> None:
    make_run(tmp_path / "old", 0.7, False, finished=1000)
    make_run(tmp_path / "new", 0.8, True, finished=2000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    os.utime(tmp_path / "broken" / "run.json", (500, 500))
    new, old, broken = find_runs(tmp_path)
    assert (new.folder.name, new.blessed, new.mean_auc, new.pushed) == ("new", True, 0.8, "17")
    assert (old.folder.name, old.blessed, old.pushed, old.models) == ("old", False, "", 1)
    assert broken.problem
    result = CliRunner().invoke(app, ["runs", "list", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "0.800 synthetic" in result.output
    assert "not blessed" in result.output
    assert "these figures say nothing about real ones" in result.output


def test_no_run_is_said(tmp_path) -> None:
    result = CliRunner().invoke(app, ["runs", "list", str(tmp_path)])
    assert result.output.startswith("no finished run in")


@pytest.fixture
def versions(tmp_path, monkeypatch) -> Path:
    """Versions 100 (stable), 200, 300; 100 was pushed before the gate noted AUCs of classes."""
    base = tmp_path / "serving" / "cxrflow"
    for number in (100, 200, 300):
        model = tmp_path / f"model{number}"
        (model / "assets.extra").mkdir(parents=True)
        (model / "saved_model.pb").write_bytes(b"%d" % number)
        info = {
            "classes": ["Mass", "Edema"],
            "image_size": 224,
            "members": [{"name": "a", "backbone": "MobileNet", "head": "lse"}],
            "data": "d1" if number < 300 else "d2",
            "code": "c",
        }
        (model / "assets.extra" / "model.json").write_text(json.dumps(info))
        monkeypatch.setattr(
            "cxrflow.components.publish.push.time.time", lambda number=number: number
        )
        noted = {"class_auc": {"Mass": number / 1000}} if number > 100 else {}
        push(model, base, notes={"mean_auc": 0.5, "synthetic": False, **noted})
    write_labels(base, Labels({"stable": 100}))
    return base


@pytest.mark.parametrize(
    ("given", "numbers"),
    [([], (100, 300)), ([200], (100, 200)), ([300, 200], (300, 200))],
)
def test_which_two_are_compared(versions, given: list[int], numbers: tuple[int, int]) -> None:
    assert tuple(side.version.number for side in compare(versions, given)) == numbers


@pytest.mark.parametrize("given", [[100], [7], [200, 200], [100, 200, 300]])
def test_what_can_not_be_compared(versions, given: list[int]) -> None:
    with pytest.raises(CxrflowError):
        compare(versions, given)


def test_comparison_on_the_terminal(versions) -> None:
    command = ["models", "compare", "200", "300", "--root", str(versions.parent)]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert [w for w in result.output.split() if w in ("0.200", "0.300", "+0.100")] == [
        "0.200",
        "0.300",
        "+0.100",
    ]
    assert "data: d1 → d2" in result.output
    assert "trained on different data" in result.output
    assert "members:" not in result.output
