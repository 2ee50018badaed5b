"""What `cxrflow explain` says and how it exits; the drawing itself is tried elsewhere."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrflow.pipeline.cli.app import app
from cxrflow.pipeline.cli.reports import _log
from cxrflow.pipeline.reports import explain
from cxrflow.pipeline.reports.explain import Explained
from cxrflow.serving.client.files import Skipped

SHEET = Path("to/M\udcfcller [1]\n.png")
BAD = Skipped(Path("in/bad\n.png"), "neither a PNG nor a JPEG", bad=True)
TEXTS = tuple(Skipped(Path(f"in/{i}.txt"), "no image") for i in range(3))


def run(monkeypatch, tmp_path, **found):
    """`cxrflow explain` where `explain` finds this."""
    empty = {"sheets": (), "bad": (), "skipped": (), "notes": (), "synthetic": True}
    monkeypatch.setattr(explain, "explain", lambda *args: Explained(**{**empty, **found}))
    monkeypatch.setattr(explain, "find_model", lambda folder: folder)
    monkeypatch.setattr(explain, "check_classes", lambda folder, names: None)
    return CliRunner().invoke(app, ["explain", "in", "--to", str(tmp_path / "to")])


def test_what_is_left_out_and_skipped_is_told(monkeypatch, tmp_path):
    found = run(
        monkeypatch, tmp_path, sheets=(SHEET,), bad=(BAD,), skipped=TEXTS, notes=("no boxes: x",)
    )
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        r"to/M\xfcller [1]\n.png",
        "the model was trained on synthetic X-rays: its maps say nothing about real ones",
    ]
    assert found.stderr.splitlines() == [
        "cxrflow: no boxes: x",
        r"cxrflow: left out: in/bad\n.png: neither a PNG nor a JPEG",
        "cxrflow: skipped 3: no image: in/0.txt and 2 more",
    ]


def test_all_well_is_exit_code_0(monkeypatch, tmp_path):
    found = run(monkeypatch, tmp_path, sheets=(SHEET,), skipped=TEXTS[:1], synthetic=False)
    assert (found.exit_code, found.stdout) == (0, "to/M\\xfcller [1]\\n.png\n")
    assert found.stderr == "cxrflow: skipped 1: no image: in/0.txt\n"


def test_none_drawn_says_nothing_about_the_model(monkeypatch, tmp_path):
    found = run(monkeypatch, tmp_path, bad=(BAD,))
    assert str(found.exception) == "no image could be read"
    assert "synthetic" not in found.output


def test_a_run_that_takes_no_log_is_still_shown(tmp_path):
    root = tmp_path / "root"
    assert _log(root, "dashboard").parent == root / "logs"
    (tmp_path / "closed").write_text("a file where the folder should be")
    log = _log(tmp_path / "closed", "dashboard")
    assert log.name.endswith("-dashboard.log") and log.parent.is_dir()
    assert tmp_path not in log.parents


@pytest.mark.parametrize("command", ["dashboard", "baseline", "card"])
def test_no_run_is_named(command, tmp_path):
    found = CliRunner().invoke(app, [command, "--root", str(tmp_path)])
    assert "no finished run" in str(found.exception)
    assert not list(tmp_path.iterdir())
