"""Running from the command line: locks, errors as one line, what a run leaves."""

import multiprocessing
import os
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from cxrflow.pipeline import config, data
from cxrflow.pipeline.holding import only_node_in, only_run_in
from cxrflow.pipeline.one_line import as_one_line
from cxrflow.pipeline.run import Run, with_absolute_paths
from cxrflow.schema.errors import CxrflowError

LOG = Path(__file__)  # any file
ROOT = LOG.parent


def test_second_run_in_the_same_root_is_refused(tmp_path: Path) -> None:
    with (
        only_run_in(tmp_path),
        pytest.raises(CxrflowError, match="another run works in"),
        only_run_in(tmp_path),
    ):
        pass
    with only_run_in(tmp_path):  # free again
        pass


def test_the_second_is_told_who_works_there(tmp_path: Path) -> None:
    me = rf"process {os.getpid()} on \S+ since 20\d\d-"
    with only_run_in(tmp_path):
        for second in (only_run_in(tmp_path), only_node_in(tmp_path, "Gate", "r1")):
            with pytest.raises(CxrflowError, match=rf"another run works in .* \({me}"), second:
                pass
    with only_node_in(tmp_path, "Gate", "r1"), only_node_in(tmp_path, "Trainer.lse", "r1"):
        refusals = (
            (only_run_in(tmp_path), "another run works in"),
            (only_node_in(tmp_path, "Gate", "r1"), "Gate runs in"),
            (only_node_in(tmp_path, "Gate", "r2"), "another run works in"),
            (only_node_in(tmp_path, "Transform", "r"), "another run works in"),
        )
        for second, refusal in refusals:
            with pytest.raises(CxrflowError, match=rf"{refusal} .*\(Gate of run r1, {me}"), second:
                pass
    for free in (only_node_in(tmp_path, "Transform", "r2"), only_run_in(tmp_path)):
        with free:
            pass


def test_of_several_nodes_one_that_still_runs_is_named(tmp_path: Path) -> None:
    """The last one to begin may have ended, and a run before it."""
    with only_run_in(tmp_path):
        pass
    with only_node_in(tmp_path, "Trainer.lse", "r1"):
        with only_node_in(tmp_path, "Gate", "r1"):
            pass
        told = pytest.raises(CxrflowError, match=r"\(Trainer\.lse of run r1, process")
        with told, only_run_in(tmp_path):
            pass


def _hold(root: Path, node: str, run_id: str, tell: Connection) -> None:
    try:
        with only_node_in(root, node, run_id):
            tell.send("")
            tell.poll(60)
    except CxrflowError as error:
        tell.send(str(error))


def test_of_nodes_of_two_runs_that_begin_at_once_one_run_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    pipes, processes = [context.Pipe() for _ in range(6)], []
    for number, (_, there) in enumerate(pipes):
        args = (tmp_path, f"Trainer.{number}", f"r{number % 2}", there)
        processes.append(context.Process(target=_hold, args=args))
        processes[-1].start()
    said = [here.recv() for here, _ in pipes]
    for here, _ in pipes:
        with suppress(OSError):
            here.send("enough")
    for process in processes:
        process.join()
    refused = [number for number, line in enumerate(said) if line]
    assert refused in ([0, 2, 4], [1, 3, 5]), said
    assert all(f"of run r{1 - refused[0]}, process" in said[number] for number in refused)


def test_our_error_is_found_below_others() -> None:
    try:
        try:
            raise CxrflowError("too few images")
        except CxrflowError as inner:
            raise RuntimeError("node failed") from inner
    except RuntimeError as outer:
        assert str(as_one_line(outer, ROOT, LOG)) == "too few images"


def test_errors_that_stem_from_each_other_end() -> None:
    """An unknown failure on a Beam engine, once its own cause, never ended the run."""
    first, second = RuntimeError("insufficient network buffers"), ValueError("first")
    first.__cause__, second.__cause__ = second, first
    line = str(as_one_line(first, ROOT, LOG))
    assert line.startswith("a step broke: RuntimeError: insufficient network buffers; ")


def test_our_error_is_found_in_beams_text() -> None:
    text = (
        "Traceback (most recent call last):\n  File ...\n"
        "cxrflow.schema.errors.CxrflowError: too few images [while running 'Run[Ingest]']\n"
    )
    assert str(as_one_line(RuntimeError(text), ROOT, LOG)) == "too few images"


def test_foreign_error_is_one_line_with_the_log() -> None:
    line = str(as_one_line(KeyError("weights\nmore"), ROOT, LOG))
    assert line.startswith("a step broke: KeyError: ")
    assert line.endswith(str(LOG))
    assert "\n" not in line


def test_run_is_read_as_written(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.write(tmp_path)
    assert Run.read(tmp_path) == run


def a_run(root: Path) -> Run:
    return Run(
        config={"name": "x"},
        data_dir="/data",
        synthetic=True,
        seconds=1.5,
        executed=["A"],
        cached=["B"],
        artifacts={"Trainer.a": {"model": f"{root}/artifacts/Trainer.a/model/5"}},
        pushed=f"{root}/serving/x/17",
        log=f"{root}/logs/1.log",
    )


def test_a_moved_run_is_read_where_it_lies_now(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    before.mkdir()
    a_run(before).write(before)
    assert str(tmp_path) not in (before / "run.json").read_text()
    before.rename(now)
    assert Run.read(now) == a_run(now)


def test_paths_outside_of_the_root_and_empty_ones_stay(tmp_path: Path) -> None:
    a_run(tmp_path).write(tmp_path)
    found = Run.read(tmp_path)
    assert found.data_dir == "/data" and found.edge == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", "not JSON", '{"config": 1}'])
def test_a_damaged_record_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CxrflowError, match="can't be read"):
        Run.read(tmp_path)


def test_relative_weights_stay_where_they_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = config.parse({"train": {"weights_dir": "weights"}})
    assert with_absolute_paths(given).train.weights_dir == str(tmp_path / "weights")
    assert with_absolute_paths(config.parse({})).train.weights_dir == ""
    others = {"localise": {"boxes": "b.csv"}, "publish": {"signing_key": "k.pem"}}
    found = with_absolute_paths(config.parse(others))
    assert found.localise.boxes == str(tmp_path / "b.csv")
    assert found.publish.signing_key == str(tmp_path / "k.pem")


def test_a_parent_is_the_version_that_is_served_now(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for version in ("3", "7"):
        folder = tmp_path / "run" / "serving" / "cxrflow" / version
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").touch()
    given = config.parse({"train": {"start_from": "run"}})
    found = with_absolute_paths(given).train.start_from
    assert found == str(tmp_path / "run" / "serving" / "cxrflow" / "7")
    with pytest.raises(CxrflowError, match=r"train\.start_from: nowhere has no pushed model"):
        with_absolute_paths(config.parse({"train": {"start_from": "nowhere"}}))


def test_no_run_yet(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="no finished run"):
        Run.read(tmp_path)


def test_profile_without_data(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="--data DIR"):
        data.find(config.parse({}), None, tmp_path)
    with pytest.raises(CxrflowError, match="no folder"):
        data.find(config.parse({}), tmp_path / "missing", tmp_path)
