"""What a node's executor leaves is on the disk before ML Metadata says that it is there."""

import types
from pathlib import Path

import pytest

from tests.support.disk import synced_paths

pytestmark = pytest.mark.tf


def test_a_nodes_outputs_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrflow.pipeline.operators import on_copies

    monkeypatch.chdir(tmp_path)
    synced = synced_paths(monkeypatch)
    artifacts = [types.SimpleNamespace(uri=f"artifacts/Node/{key}/7") for key in ("a", "never")]
    info = types.SimpleNamespace(input_dict={}, output_dict={"both": artifacts})

    def run(_: object) -> str:
        shard = Path(artifacts[0].uri, "Split-train", "data")
        shard.parent.mkdir(parents=True)
        shard.write_text("x")
        (shard.parent / "link").symlink_to("nowhere")
        assert not synced
        return "output"

    assert on_copies(info, run) == "output"
    folder = tmp_path / "artifacts" / "Node" / "a" / "7"
    below = [folder / "Split-train" / "data", folder / "Split-train", folder, folder.parent]
    assert synced == below


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("failed in state FAILED: Insufficient number of network buffers", None),
        ("ModuleNotFoundError: No module named 'cxrflow'", "a Beam worker can't import a module"),
    ],
    ids=["unknown", "known"],
)
def test_a_failure_on_an_engine_is_what_the_engine_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, line: str | None
) -> None:
    from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator

    from cxrflow.pipeline import operators

    raised = RuntimeError(reason)

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(BeamExecutorOperator, "run_executor", fail)
    monkeypatch.setattr(operators.beam_engine, "require_answer", lambda *_: None)
    monkeypatch.setattr(operators, "_on_absolute", lambda info, run: run(info))
    operator = operators.BeamOperator.__new__(operators.BeamOperator)
    value = types.SimpleNamespace(string_value="--runner=PortableRunner")
    operator.beam_pipeline_args = [types.SimpleNamespace(value=value)]
    info = types.SimpleNamespace(input_dict={}, output_dict={})
    with pytest.raises(Exception, match=line or reason) as found:
        operator.run_executor(info)
    assert (found.value is raised) == (line is None)
    assert found.value.__cause__ is (None if line is None else raised)


def test_a_metadata_file_that_cannot_be_opened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrflow.pipeline import mlmd

    raised = RuntimeError("no such table")

    class Refusing:
        def __init__(self, _: object) -> None:
            pass

        def __enter__(self) -> None:
            raise raised

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(mlmd.metadata, "Metadata", Refusing)
    monkeypatch.setattr(mlmd, "connection_of", lambda _: None)
    monkeypatch.setattr(mlmd, "metadata_config", lambda _: types.SimpleNamespace(is_server=False))
    with pytest.raises(RuntimeError) as found, mlmd.connected(None):
        pass
    assert found.value is raised
    assert found.value.__cause__ is None
