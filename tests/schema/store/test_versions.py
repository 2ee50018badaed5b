import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.versions import (
    LABELS,
    Labels,
    clean,
    hold,
    list_models,
    list_versions,
    locked,
    next_version,
    read_labels,
    remove,
    write_labels,
)

REPO = Path(__file__).resolve().parents[3]


def test_lists_only_what_is_a_version(tmp_path):
    assert list_versions(tmp_path / "missing") == []
    for name in ("12", "3", "0", "007", "-4", "+5", "1.5", "1e3", ".push-9", "٣", "v1", "1" * 30):
        (tmp_path / name).mkdir()
    for name in (str(2**63 - 1), str(2**63), "9" * 19):
        (tmp_path / name).mkdir()
    (tmp_path / "44").write_text("a file")
    (tmp_path / "55").symlink_to(tmp_path / "12")
    assert list_versions(tmp_path) == [0, 3, 12, 2**63 - 1]


def test_the_next_version_is_higher_than_all_that_is_there(tmp_path):
    assert next_version(tmp_path / "missing", 5.9) == 5
    for name in ("3", "007", "-9", ".push-11", "x12"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path, 0.0) == 4
    (tmp_path / "20").touch()
    (tmp_path / "30").symlink_to("nowhere")
    assert next_version(tmp_path, 0.0) == 31
    (tmp_path / str(10**18 - 1)).mkdir()
    assert next_version(tmp_path, 0.0) == 10**18
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(CxrflowError, match="highest number that a version can have: remove it"):
        next_version(tmp_path, 0.0)


def test_lists_models_with_a_version(tmp_path):
    (tmp_path / "b" / "1").mkdir(parents=True)
    (tmp_path / "a" / "2").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    for name in (".trash", "n\new", os.fsdecode(b"\xff")):  # hidden, or nothing a request can name
        (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / "models.config").touch()
    assert list_models(tmp_path) == ["a", "b"]
    assert list_models(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("labels", "there", "stable", "all_", "before"),
    [
        (Labels(), [], None, {}, None),
        (Labels(), [3], 3, {"stable": 3}, None),
        (Labels(), [3, 5], 5, {"stable": 5}, 3),
        (Labels({"canary": 5}), [3, 5], 5, {"stable": 5, "canary": 5}, 3),
        (Labels({"stable": 3, "canary": 5}), [3, 5], 3, {"stable": 3, "canary": 5}, None),
        (Labels({"stable": 9}, previous=3), [3, 5, 9], 9, {"stable": 9}, 3),
        (Labels({"stable": 9}, previous=4), [3, 5, 9], 9, {"stable": 9}, 5),  # 4 was pruned
        (Labels({"stable": 9}, pinned=3), [3, 5, 9], 3, {"stable": 3}, None),
        # What labels.json names is never replaced by another version.
        (Labels({"stable": 7}), [3, 5], 7, {}, 5),
        (Labels(pinned=7), [3, 5], 7, {}, 5),
    ],
)
def test_what_labels_mean(labels, there, stable, all_, before):
    assert labels.stable(there) == stable
    assert labels.all(there) == all_
    assert labels.before(there) == before


versions = st.integers(0, 2**60)


@given(st.dictionaries(st.text(), versions), st.none() | versions, st.none() | versions)
def test_labels_are_read_as_written(tmp_path_factory, labels, pinned, previous):
    folder = tmp_path_factory.mktemp("model")
    written = Labels(labels, pinned, previous)
    write_labels(folder, written)
    assert read_labels(folder) == written
    assert [p.name for p in folder.iterdir()] == [LABELS]


def test_without_a_file_there_are_no_labels(tmp_path):
    assert read_labels(tmp_path) == Labels()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "5",
        '{"labels": []}',
        '{"labels": {"stable": "5"}}',
        '{"labels": {"stable": true}}',
        '{"labels": {"stable": -1}}',
        '{"labels": {"stable": null}}',
        '{"labels": {}, "pinned": 1.5}',
        b"\xff",
    ],
)
def test_refuses_other_files_with_one_line(tmp_path, content):
    path = tmp_path / LABELS
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CxrflowError, match=r"labels.json can't be used .*delete it") as error:
        read_labels(tmp_path)
    assert "\n" not in str(error.value)


def test_the_contract_of_the_file(tmp_path):
    (tmp_path / LABELS).write_text('{"labels": {"stable": 1795, "canary": 1801}, "pinned": null}')
    assert read_labels(tmp_path) == Labels({"stable": 1795, "canary": 1801})
    write_labels(tmp_path, Labels({"stable": 1795}, pinned=1795))
    assert json.loads((tmp_path / LABELS).read_text()) == {
        "labels": {"stable": 1795},
        "pinned": 1795,
        "previous": None,
    }


def test_a_held_version_is_not_removed(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    script = (
        "import sys, pathlib; from cxrflow.schema.store.versions import hold;"
        "hold(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "1")],
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    server.stdout.readline()
    with locked(tmp_path):
        assert not remove(tmp_path, 1)
        assert remove(tmp_path, 2)
    assert list_versions(tmp_path) == [1]
    server.kill()  # its hold goes with it
    server.wait()
    server.stdin.close()
    server.stdout.close()
    assert remove(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_two_servers_may_hold_one_version(tmp_path):
    (tmp_path / "1").mkdir()
    first, second = hold(tmp_path / "1"), hold(tmp_path / "1")
    os.close(first)
    assert not remove(tmp_path, 1)
    os.close(second)
    assert remove(tmp_path, 1)
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "1")


def test_cleans_up_after_the_dead(tmp_path):
    for name in (".push-3", ".remove-2", "1", "notes"):
        (tmp_path / name / "variables").mkdir(parents=True)
    clean(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "notes"]
