"""A node as a command: the file it is run from, its place in a run, and what it refuses."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from cxrflow.pipeline import config
from cxrflow.pipeline.graph import read_graph
from cxrflow.pipeline.holding import only_node_in, only_run_in
from cxrflow.pipeline.nodes import compile_pipeline, run_node
from cxrflow.pipeline.record import Run
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root with the tiny pipeline, compiled; tests work beside it."""
    from tests.support import tiny_pipeline as tiny

    folder, before = tmp_path / "root", os.getcwd()
    folder.mkdir()
    os.chdir(folder)
    tiny.compile_to(folder / "pipeline.json")
    os.chdir(tmp_path)
    yield folder
    os.chdir(before)


def node(folder: Path, name: str, run_id: str = "r1", root: Path | None = None) -> None:
    run_node(folder / "pipeline.json", run_id, name, root, shown="nothing")


def trace(root: Path) -> list[str]:
    return [" ".join(line.split()[:2]) for line in (root / "trace").read_text().splitlines()]


def test_graph_of_a_profile_is_the_wiring(tmp_path: Path) -> None:
    from cxrflow.pipeline import dag, ir
    from tests.pipeline.test_dag import FACTS, WIRED
    from tests.support.tiny_pipeline import ORIGIN

    demo = config.load("demo")
    pipeline = dag.create_pipeline(demo, Path("data"), Path(), FACTS)
    file = tmp_path / "new" / "pipeline.json"
    ir.write(ir.compiled(pipeline, tmp_path / "root", ORIGIN), file)
    graph = read_graph(file)
    assert (graph.name, graph.root) == ("cxrflow", str(tmp_path / "root"))
    assert {name: set(before) for name, before in graph.upstream.items()} == WIRED["demo"]
    done: set[str] = set()
    for name, before in graph.upstream.items():
        assert done.issuperset(before)
        done.add(name)
    compiled = ir.read(file)
    assert asdict(ir.origin(compiled)) == json.loads(json.dumps(asdict(ORIGIN)))
    # Whatever else lies below the root is named relative to it: the root may be elsewhere.
    assert file.read_text().count(str(tmp_path)) == 1
    assert "/root" not in str(ir.of_run(compiled, "r1").runtime_spec)


def test_a_root_that_a_run_holds_gets_no_phantoms_of_a_compilation(tmp_path: Path) -> None:
    settings = config.parse({"phantom": {"patients": 4}})
    with only_run_in(tmp_path), pytest.raises(CxrflowError, match="another run works in"):
        compile_pipeline(settings, None, tmp_path, tmp_path / "pipeline.json")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_nodes_run_one_by_one_are_a_run(root: Path) -> None:
    from tests.support.tiny_pipeline import NODES

    for name in NODES:
        assert not (root / "run.json").exists()
        node(root, name)
    run = Run.read(root)
    assert (run.executed, run.cached, run.data_dir) == (NODES, [], str(root / "data"))
    assert set(run.artifacts) == set(NODES)
    assert all(Path(outputs["text"], "text").is_file() for outputs in run.artifacts.values())
    assert Path(run.log, "Join.log").is_file()
    for name in NODES:
        node(root, name, "r2")
    assert (Run.read(root).executed, Run.read(root).cached) == ([], NODES)
    assert trace(root) == [f"{word} {name}" for name in NODES for word in ("begin", "end")]


def test_a_node_waits_for_those_before_it(root: Path) -> None:
    with pytest.raises(CxrflowError, match=r"^Part\.a comes after Source, which run r1 hasn't"):
        node(root, "Part.a")
    node(root, "Source")
    node(root, "Part.a")
    with pytest.raises(CxrflowError, match=r"^Join comes after Part\.b, Part\.c, which run r1"):
        node(root, "Join")
    with pytest.raises(CxrflowError, match="Source, which run r2 hasn't finished"):
        node(root, "Part.a", "r2")


def test_a_node_that_failed_is_tried_again_in_the_same_run(root: Path) -> None:
    (root / "fail-Source").touch()
    for _ in range(2):
        with pytest.raises(CxrflowError, match=r"^Source was told to fail$"):
            node(root, "Source")
    (root / "fail-Source").unlink()
    node(root, "Source")
    node(root, "Source")  # does nothing
    assert trace(root).count("begin Source") == 3
    assert [*root.rglob("*.part")] == []


def test_an_earlier_attempts_full_disk_is_none_of_the_next_ones(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support import tiny_pipeline as tiny

    said = [b"E tensorflow/... ; No space left on device\n", b""]

    def do(*_: object) -> None:
        os.write(1, said.pop(0))
        raise KeyError("weights")

    monkeypatch.setattr(tiny.Executor, "Do", do)
    for line in ("^no space left in .*root", "^a step broke: KeyError"):
        with pytest.raises(CxrflowError, match=line):
            node(root, "Source")


@pytest.mark.parametrize("run_id", ["r1", "r2"])
def test_what_a_killed_attempt_left_goes_with_the_next_in_any_run(root: Path, run_id: str) -> None:
    """The folder of the same execution is the one that the next attempt writes to."""
    from ml_metadata.proto.metadata_store_pb2 import Execution
    from tfx.orchestration import metadata

    from cxrflow.pipeline import history
    from tests.support.kills import states

    (root / "fail-Source").touch()
    with pytest.raises(CxrflowError, match="told to fail"):
        node(root, "Source")
    config = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    with metadata.Metadata(config) as handle:
        execution = history.executions(handle.store, "tiny", "r1")["Source"]
        execution.last_known_state = Execution.RUNNING  # as where it was killed
        handle.store.put_executions([execution])
    left = root / "artifacts" / "Source" / "text" / str(execution.id) / "left"
    left.parent.mkdir(parents=True)
    left.touch()
    (root / "fail-Source").unlink()
    node(root, "Source", run_id)
    assert [path.name for path in root.glob("artifacts/Source/text/*/*")] == ["text"]
    of_r1 = [] if run_id == "r1" else [("Source", "FAILED")]
    assert states(root) == [*of_r1, ("Source", "COMPLETE")]


def test_nodes_of_another_run_are_refused_while_one_runs(root: Path) -> None:
    with only_node_in(root, "Source", "r1"):
        with pytest.raises(CxrflowError, match=r"another run works in .* \(Source of run r1, proc"):
            node(root, "Part.a", "r2")
        with pytest.raises(CxrflowError, match=r"Part\.a comes after Source, which run r1 hasn't"):
            node(root, "Part.a", "r1")
    node(root, "Source", "r2")


def test_a_root_that_is_mounted_elsewhere(root: Path, tmp_path: Path) -> None:
    node(root, "Source")
    moved = root.rename(tmp_path / "mnt")
    with pytest.raises(CxrflowError, match=r"no folder .*root on this machine: mount"):
        node(moved, "Part.a")
    node(moved, "Part.a", root=moved)
    assert not root.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": "0" * 16}, "code 0000000000000000 (here "),
        ({"cxrflow": "0.0.9"}, "cxrflow 0.0.9 (here "),
        ({"code": "1", "keras": "2.15"}, "keras 2.15 (here "),
        (None, "cxrflow unknown (here "),  # of a version that didn't say
    ],
)
def test_a_file_of_other_code_is_refused(root: Path, changes: dict | None, words: str) -> None:
    """Its cache keys are that code's: results of this one would be taken for that one's."""
    file = root / "pipeline.json"
    text = json.loads(file.read_text())
    beside = text["deploymentConfig"]["pipelineLevelPlatformConfig"]
    made_of = json.loads(beside["value"])
    made_of["made_with"] = {} if changes is None else made_of["made_with"] | changes
    beside["value"] = json.dumps(made_of)
    file.write_text(json.dumps(text))
    with pytest.raises(CxrflowError, match=re.escape(words)) as raised:
        node(root, "Source")
    assert "compile it anew" in str(raised.value) and "\n" not in str(raised.value)
    assert not (root / "trace").exists()


def test_another_tfx_file_is_refused(root: Path) -> None:
    file = root / "pipeline.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"newField": 1}))
    with pytest.raises(CxrflowError, match="is no pipeline of this TFX"):
        node(root, "Source")
