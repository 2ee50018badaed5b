"""`cxrflow monitor --audit` on synthetic logs."""

import hashlib

import pytest
from typer.testing import CliRunner

from cxrflow.pipeline.cli import monitor as command  # noqa: F401 (adds the command)
from cxrflow.pipeline.cli.app import app
from cxrflow.schema.audit import Decision
from tests.support.audit_logs import decisions, made_version, write_log

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return made_version(tmp_path_factory.mktemp("root") / "serving")


def run(*arguments):
    return CliRunner().invoke(app, ["monitor", *map(str, arguments)])


def test_weeks_are_judged_and_the_newest_decides(version, tmp_path):
    log = write_log(
        tmp_path / "audit.jsonl",
        decisions(150, 1, older=30),
        decisions(150, 2, week=1),
        decisions(40, 3, week=2, older=60),
    )
    found = run("--audit", log, "--model", version, "--to", tmp_path / "page")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert lines[0].startswith("cxrflow 7: 340 answers in 3 weeks, against 3,000 training images")
    assert lines[1] == "2026-W45, 150 answers: 1 of 8 features drift"
    assert lines[2].startswith("  age: median ") and "in training; distance 0." in lines[2]
    assert lines[3] == "2026-W46, 150 answers: 0 of 8 features drift"
    assert lines[4] == "2026-W47, 40 answers: not judged: 40 answers know it, 100 needed"
    assert lines[5] == "no drift in 2026-W46, the newest week that can be judged"
    page = (tmp_path / "page" / "monitor.html").read_text()
    for said in (
        "2026-W45, from 2026-11-02",
        "No drift in 2026-W46",
        "score of Big heart",
        "cxrflow</b> cxrflow 7",
    ):
        assert said in page, said
    assert (tmp_path / "page" / "style.css").is_file()


def test_drift_of_the_newest_week_is_exit_code_1(version, tmp_path):
    log = write_log(tmp_path / "a", decisions(150, 1), decisions(150, 2, week=1, unlike=0.5))
    found = run("--audit", log, "--model", version.parent.parent)  # a serving root
    assert found.exit_code == 1
    assert "  may be no chest X-ray: 50.0% of the images, 5.0% allowed" in found.stdout
    assert "drift: in 2026-W46 what was asked isn't as" in found.stdout
    assert run("--audit", log, "--model", version, "--max-ood-share", 0.6).exit_code == 0


def test_too_few_answers_are_said_and_no_drift(version, tmp_path):
    log = write_log(tmp_path / "a", decisions(60, 1, older=60))
    found = run("--audit", log, "--model", version)
    assert found.exit_code == 0
    assert found.stdout.splitlines()[-1] == "not judged: no week has enough answers"
    assert run("--audit", log, "--model", version, "--min-answers", 60).exit_code == 1


def test_other_versions_and_decisions_without_the_model_are_counted_apart(version, tmp_path):
    digest = hashlib.sha256((version / "manifest.json").read_bytes()).hexdigest()
    lateral = [
        Decision(**{**vars(d), "model": None, "scores": {}, "answer": "not_frontal_chest"})
        for d in decisions(3, 9)
    ]
    log = write_log(
        tmp_path / "a",
        decisions(110, 1, digest=digest, version=7),
        decisions(5, 2, digest="0" * 64, version=7),  # the name again, of another model
        decisions(6, 3, version=6),
        lateral,
    )
    again = write_log(tmp_path / "b", decisions(110, 1, digest=digest))  # repeats count once
    found = run("--audit", log, "--audit", again, "--model", version)
    assert found.exit_code == 0
    assert "7: 110 answers in 1 week," in found.stdout
    assert "not among them: 3 decisions without the model (not_frontal_chest)" in found.stdout
    assert "not among them: 6 answers of cxrflow 6" in found.stdout
    assert "not among them: 5 answers of cxrflow 7" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --audit LOG and --model DIR, or --shadow LOG alone"),
        (["--audit", "{log}"], "give --audit LOG and --model DIR"),
        (["--audit", "{log}", "--model", "{v}", "--shadow", "{log}"], "give --audit"),
        (["--audit", "{none}", "--model", "{v}"], "none can't be read: No such file"),
        (["--audit", "{junk}", "--model", "{v}"], "line 1 is no decision"),
        (["--audit", "{empty}", "--model", "{v}"], "is of cxrflow 7, no decision at all"),
        (["--audit", "{other}", "--model", "{v}"], "only 2 of cxrflow 8; --model names another"),
        (["--audit", "{log}", "--model", "{none}"], "--model takes a pushed version"),
        (["--audit", "{log}", "--model", "{old}"], "has no training_statistics.pb"),
        (["--audit", "{late}", "--model", "{v}"], "has the time 'soon', which is none"),
    ],
)
def test_bad_input_is_one_line(version, tmp_path, arguments, said):
    places = {
        "v": version,
        "none": tmp_path / "none",
        "log": write_log(tmp_path / "log", decisions(2, 1)),
        "other": write_log(tmp_path / "other", decisions(2, 1, version=8)),
        "late": write_log(
            tmp_path / "late", [Decision(**{**vars(d), "time": "soon"}) for d in decisions(1, 1)]
        ),
        "junk": tmp_path / "junk",
        "empty": tmp_path / "empty",
        "old": made_version(tmp_path / "old", statistics=False),
    }
    places["junk"].write_text("{}\n")
    places["empty"].write_text("")
    found = run(*(one.format(**places) for one in arguments))
    assert found.exit_code != 0 and said in str(found.exception)
    assert "\n" not in str(found.exception)
