"""`cxrflow models`, from the functions below it to the terminal."""

import json
import os
import shutil
import threading
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cxrflow.components.publish.models import find_model, promote, rollback, versions_of
from cxrflow.components.publish.push import push
from cxrflow.components.publish.settings import PublishConfig
from cxrflow.pipeline.cli import app
from cxrflow.pipeline.models import show_versions
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.load_record import (
    LoadRecord,
    Rejected,
    await_served,
    fingerprint,
    remove_record,
    write_record,
)
from cxrflow.schema.store.versions import Labels, list_versions, read_labels, write_labels


@pytest.fixture
def pushed(tmp_path, monkeypatch) -> Path:
    """Versions 100, 200, 300 of model cxrflow in a run's root."""
    base = tmp_path / "serving" / "cxrflow"
    for number in (100, 200, 300):
        model = tmp_path / f"model{number}"
        model.mkdir()
        (model / "saved_model.pb").write_bytes(b"%d" % number)
        monkeypatch.setattr(
            "cxrflow.components.publish.push.time.time", lambda number=number: number
        )
        notes = {"mean_auc": number / 1000, "synthetic": number == 300} if number > 100 else {}
        push(model, base, notes=notes)
    return base


def test_versions_tell_all(pushed):
    write_labels(pushed, Labels({"stable": 200, "canary": 300, "blue": 200}, pinned=200))
    (pushed / "100" / "saved_model.pb").unlink()
    new, stable, old = versions_of(pushed)
    assert (new.number, new.labels, new.pinned, new.problems) == (300, ("canary",), False, ())
    assert (stable.number, stable.labels, stable.pinned) == (200, ("blue", "stable"), True)
    assert (old.number, old.labels, old.problems) == (100, (), ("saved_model.pb is missing",))
    assert [v.mean_auc for v in (new, stable, old)] == [0.3, 0.2, None]
    assert [v.synthetic for v in (new, stable, old)] == [True, False, None]
    assert abs((datetime.now() - new.pushed).total_seconds()) < 60


def test_the_canary_is_promoted(pushed):
    write_labels(pushed, Labels({"stable": 200, "canary": 300}))
    assert promote(pushed) == (200, 300)
    assert read_labels(pushed) == Labels({"stable": 300, "canary": 300}, previous=200)
    assert rollback(pushed) == (300, 200)
    # The canary that was rolled back is labelled no more, and the next push doesn't undo it.
    assert read_labels(pushed) == Labels({"stable": 200}, pinned=200)
    assert rollback(pushed) == (200, 100)
    with pytest.raises(CxrflowError, match="no whole version before 100"):
        rollback(pushed)
    assert promote(pushed, 300) == (100, 300)
    assert read_labels(pushed) == Labels({"stable": 300}, previous=100)  # unpinned


def test_promote_any_version_and_label(pushed):
    assert promote(pushed, 100, label="blue", new_label=True) == (None, 100)
    # Naming a label fixes what is stable; the newest was.
    assert read_labels(pushed) == Labels({"blue": 100, "stable": 300})
    assert promote(pushed, 200, pin=True) == (300, 200)
    assert read_labels(pushed) == Labels({"blue": 100, "stable": 200}, pinned=200, previous=300)
    assert promote(pushed, 200) == (200, 200)
    assert read_labels(pushed) == Labels({"blue": 100, "stable": 200}, previous=300)


def test_rollback_skips_damaged_versions(pushed):
    (pushed / "200" / "saved_model.pb").unlink()
    assert rollback(pushed) == (300, 100)


def test_rollback_from_a_version_that_is_gone(pushed):
    write_labels(pushed, Labels({"stable": 250}))
    assert rollback(pushed) == (250, 200)


def test_promote_mends_a_damaged_labels_file(pushed):
    (pushed / "labels.json").write_text("{")
    with pytest.raises(CxrflowError, match="can't be used"):
        rollback(pushed)
    assert promote(pushed, 200) == (300, 200)
    assert read_labels(pushed).labels == {"stable": 200}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda base: promote(base), "no version is labelled canary: give --version N"),
        (lambda base: promote(base, 7), "no version 7 in .*, only 100, 200, 300"),
        (lambda base: promote(base, label="canary"), "give --version N"),
        (lambda base: promote(base, 100, label="blue", pin=True), "--pin holds stable, not blue"),
        (lambda base: rollback(base, 150), "no version 150"),
        (lambda base: promote(base, 200), "version 200 is damaged .*saved_model.pb was changed"),
        (lambda base: rollback(base, 200), "version 200 is damaged"),
    ],
)
def test_what_is_refused_changes_nothing(pushed, change, error):
    (pushed / "200" / "saved_model.pb").write_text("damaged")
    with pytest.raises(CxrflowError, match=error):
        change(pushed)
    assert not (pushed / "labels.json").exists()


def test_finds_the_model(pushed, tmp_path):
    assert find_model(tmp_path) == find_model(tmp_path / "serving") == pushed
    assert find_model(tmp_path, "cxrflow") == pushed
    with pytest.raises(CxrflowError, match=r"no model other in .*, only cxrflow"):
        find_model(tmp_path, "other")
    (tmp_path / "serving" / "other" / "1").mkdir(parents=True)
    with pytest.raises(CxrflowError, match="several models: give --name, one of cxrflow, other"):
        find_model(tmp_path)
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(CxrflowError, match="there is no model in"):
            find_model(nothing)


def test_models_config_follows(pushed):
    config = pushed.parent / "models.config"
    config.touch()
    promote(pushed, 200)
    assert 'key: "stable" value: 200' in config.read_text()
    rollback(pushed)
    assert 'key: "stable" value: 300' in config.read_text()  # what was stable before


def test_commands(pushed, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def run(*args: str) -> str:
        result = CliRunner().invoke(app, ["models", *args, "--root", str(tmp_path)])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    listed = run("list").partition("mean AUC")[2]
    assert listed.index("300") < listed.index("200") < listed.index("100")
    assert "stable" in listed and "whole" in listed and "0.300 synthetic" in listed
    canary = run("promote", "--version", "200", "--label", "canary")
    assert canary == "cxrflow: canary is 200 no server of this model runs on this machine"
    promoted = run("promote", "--pin", "--wait", "0")
    assert promoted == "cxrflow: stable is 200 (pinned), was 300"
    assert "canary, stable (pinned)" in run("list")
    rolled_back = run("rollback", "--version", "100")
    assert rolled_back.startswith("cxrflow: stable is 100 (pinned), was 200 next: ")
    assert "cxrflow models promote" in rolled_back
    assert list_versions(pushed) == [100, 200, 300]


@pytest.mark.parametrize("command", ["", "list", "promote", "rollback"])
def test_help_has_examples(command):
    result = CliRunner().invoke(app, ["models", *command.split(), "--help"])
    assert result.exit_code == 0
    assert f"cxrflow models {command or 'list'} --root runs/demo" in result.output


def test_a_canary_push_then_a_promotion(pushed, tmp_path):
    model = tmp_path / "next"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"next")
    number = int(push(model, pushed, PublishConfig(label="canary")).name)
    assert promote(pushed) == (300, number)


def test_typo_in_a_label_makes_none(pushed):
    with pytest.raises(CxrflowError, match="no label stabel yet, only canary, stable, did you"):
        promote(pushed, 100, label="stabel")
    for bad in ("", "a/b", "a:b", ".a", "a b", "é"):
        with pytest.raises(CxrflowError, match="is no label"):
            promote(pushed, 100, label=bad, new_label=True)
    assert read_labels(pushed).labels == {}
    promote(pushed, 100, label="blue-1.2_x", new_label=True)
    assert promote(pushed, 200, label="blue-1.2_x") == (100, 200)  # now it is known
    assert promote(pushed, 100, label="canary") == (None, 100)  # always


def test_full_disk_leaves_the_labels(pushed, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    promote(pushed, 200)
    before = (pushed / "labels.json").read_bytes()
    monkeypatch.setattr("cxrflow.schema.store.versions.os.fsync", full)
    for change in (lambda: promote(pushed, 100), lambda: rollback(pushed)):
        with pytest.raises(OSError, match=r"No space left on device: '.*/labels.json'"):
            change()
    assert (pushed / "labels.json").read_bytes() == before
    assert not (pushed / "labels.json.part").exists()


def test_labels_are_moved_though_tf_serving_cannot_be_told(pushed):
    config = pushed.parent / "models.config"
    config.write_text("")
    (pushed.parent / "models.config.part").mkdir()  # where it is written first
    with pytest.raises(CxrflowError, match=r"moved, but TF Serving isn't told: .*models\.config"):
        promote(pushed, 100)
    assert read_labels(pushed).labels["stable"] == 100


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_list_is_readable_at_every_width(pushed, width):
    (pushed / "100" / "saved_model.pb").unlink()
    console = Console(file=StringIO(), width=width)
    show_versions(pushed, console)
    text = " ".join(console.file.getvalue().split())
    for piece in ("300", "stable", "whole", "0.300 synthetic", "damaged"):
        assert piece in text, piece
    assert "…" not in text


def test_unreadable_file_of_a_version_is_damage(pushed, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cxrflow.schema.store.manifest.read_file", refused)
    assert versions_of(pushed)[0].problems == ("saved_model.pb can't be read: Permission denied",)


# --- a server that runs here ---------------------------------------------------------------------


def _rejects(base: Path, *versions: int, **labels: int) -> None:
    """This process's record, as the server writes it."""
    rejected = {n: Rejected("it has no warm-up", fingerprint(base / str(n))) for n in versions}
    assert write_record(base, LoadRecord(labels or {"stable": 200}, rejected))


def test_a_version_that_the_server_rejected_is_not_promoted(pushed):
    _rejects(pushed, 100, 300)
    refusal = "the running server rejected version 300: it has no warm-up; .* --force"
    for change in (promote, rollback):
        with pytest.raises(CxrflowError, match=refusal):
            change(pushed, 300)
    assert not (pushed / "labels.json").exists()
    assert promote(pushed, 300, force=True)[1] == rollback(pushed, 300, force=True)[1] == 300
    assert rollback(pushed) == (300, 200)
    with pytest.raises(CxrflowError, match="no whole version before 200"):
        rollback(pushed)  # not to 100, which the server rejected


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 2**22 + 1},
        {"host": "elsewhere"},
        {"started": 1},  # another process has its number now
    ],
)
def test_a_dead_servers_record_is_not_believed(pushed, change):
    _rejects(pushed, 300)
    fields = json.loads((pushed / ".served.json").read_text()) | change
    (pushed / ".served.json").write_text(json.dumps(fields))
    assert promote(pushed, 300) == (300, 300)
    assert await_served(pushed, "stable", 300, 5) is None


def test_a_record_of_other_files_is_not_believed(pushed):
    _rejects(pushed, 300)
    os.utime(pushed / "300" / "saved_model.pb", ns=(1, 1))
    assert promote(pushed, 300) == (300, 300)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"labels": 1, "rejected": {}}', "\udcff"])
def test_a_record_that_cannot_be_read_is_none(pushed, text):
    (pushed / ".served.json").write_bytes(text.encode(errors="surrogateescape"))
    assert promote(pushed, 300) == (300, 300) and versions_of(pushed)[0].server == ""


def test_commands_say_what_the_server_did(pushed, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["models", *args, "--root", str(tmp_path)])
        return result.exit_code, " ".join(result.output.split())

    _rejects(pushed, 100, stable=200)
    listed = run("list")[1]
    assert "whole, served" in listed and "whole, rejected: it has no warm-up" in listed
    code, text = run("promote", "--version", "200")
    assert code == 0 and text.endswith("version 200 is served since now")
    code, text = run("promote", "--version", "100", "--force")
    assert code == 1 and text.endswith("server hasn't taken it over: it has no warm-up")
    assert read_labels(pushed).labels["stable"] == 100
    code, text = run("rollback", "--version", "300", "--wait", "0.1")
    assert code == 1 and "hasn't taken it over: not within 0.1 s; it may be" in text


def test_the_command_waits_for_the_server(pushed):
    _rejects(pushed, stable=200)
    later = threading.Timer(0.3, lambda: _rejects(pushed, stable=300))
    later.start()
    assert await_served(pushed, "stable", 300, 60) == ""
    stops = threading.Timer(0.3, lambda: remove_record(pushed))
    stops.start()
    assert await_served(pushed, "stable", 100, 60) is None
    later.join(), stops.join()


def test_a_model_whose_versions_vanished_is_said_to_be_gone(pushed, tmp_path):
    _rejects(pushed, stable=300)
    for number in (100, 200, 300):
        shutil.rmtree(pushed / str(number))
    gone = "the versions of cxrflow in .* are gone; the server still has version 300: push one"
    with pytest.raises(CxrflowError, match=gone):
        find_model(tmp_path, "cxrflow")
