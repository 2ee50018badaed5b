"""The pipeline under TFX's own command line: what it looks at, holds and clears before it runs."""

from pathlib import Path

import pytest

from cxrflow.pipeline.holding import only_node_in, only_run_in
from cxrflow.pipeline.runners import environment
from cxrflow.pipeline.runners.environment import run_from_environment
from cxrflow.schema.errors import CxrflowError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a run with four patients of phantoms."""
    monkeypatch.setenv("CXRFLOW_PROFILE", "demo")
    monkeypatch.setenv("CXRFLOW_ROOT", str(tmp_path))
    monkeypatch.setenv("CXRFLOW_SET", "phantom.patients=4")
    return tmp_path


@pytest.mark.parametrize("holding", [only_run_in, lambda root: only_node_in(root, "Gate", "r1")])
def test_a_root_that_another_run_holds_is_refused_and_left(root: Path, holding) -> None:
    with holding(root), pytest.raises(CxrflowError, match="another run works in"):
        run_from_environment("local")
    assert not list(root.glob("phantoms-*"))


def test_a_server_that_does_not_answer_is_told_at_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRFLOW_METADATA_PASSWORD", "x")
    server = "metadata.kind=mysql metadata.host=127.0.0.1 metadata.port=1"
    monkeypatch.setenv("CXRFLOW_SET", f"phantom.patients=4 {server}")
    with pytest.raises(CxrflowError, match=r"server 127\.0\.0\.1:1 can't be reached"):
        run_from_environment("local")
    assert not list(root.iterdir())


@pytest.mark.tf
def test_what_a_killed_run_left_is_cleared_first(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto.metadata_store_pb2 import Execution
    from tfx.orchestration import metadata

    from tests.support import tiny_pipeline as tiny
    from tests.support.kills import states

    (root / "fail-Join").touch()
    with pytest.raises(CxrflowError, match="told to fail"):
        tiny.run(root)
    store = MetadataStore(metadata.sqlite_metadata_connection_config(f"{root}/metadata.sqlite"))
    (failed,) = (e for e in store.get_executions() if e.last_known_state == Execution.FAILED)
    failed.last_known_state = Execution.RUNNING  # as where it was killed
    store.put_executions([failed])
    (root / "fail-Join").unlink()

    monkeypatch.setattr(environment, "create_pipeline", lambda *_: tiny.create())
    run_from_environment("local")
    done = [state for node, state in states(root) if node == "Join"]
    assert done == ["FAILED", "COMPLETE"]
    assert not (root / ".tmp").exists()
