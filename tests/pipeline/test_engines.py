"""What the nodes of a run did is read from ML Metadata; Beam is left as it was."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

pytestmark = pytest.mark.tf


@pytest.fixture
def database(tmp_path: Path) -> mlmd.ConnectionConfig:
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config


def record(store: MetadataStore, run: str, states: dict[str, int]) -> None:
    """One run, as TFX's launcher leaves it: a context for the run and one for each node."""
    run_type, node_type = (
        store.put_context_type(mlmd.ContextType(name=name)) for name in ("pipeline_run", "node")
    )
    execution_type = store.put_execution_type(mlmd.ExecutionType(name="any"))
    artifact_type = store.put_artifact_type(mlmd.ArtifactType(name="Model"))
    for node, state in states.items():
        artifact = mlmd.Artifact(type_id=artifact_type, uri=f"artifacts/{node}/{run}")
        if node == "Pusher":
            artifact.custom_properties["pushed_destination"].string_value = f"serving/{run}"
        event = mlmd.Event(type=mlmd.Event.OUTPUT)
        event.path.steps.add(key="model")
        store.put_execution(
            mlmd.Execution(type_id=execution_type, last_known_state=state),
            [(artifact, event)],
            [
                mlmd.Context(type_id=run_type, name=run),
                mlmd.Context(type_id=node_type, name=f"cxrflow.{node}"),
            ],
            reuse_context_if_already_exist=True,
        )


def test_what_ran_and_what_was_cached_is_in_ml_metadata(database: mlmd.ConnectionConfig) -> None:
    from cxrflow.pipeline import engines

    done, cached = mlmd.Execution.COMPLETE, mlmd.Execution.CACHED
    store = MetadataStore(database)
    record(store, "1", {"Ingest": done, "Trainer.lse": done, "Pusher": done})
    nodes = [SimpleNamespace(id=name) for name in ("Ingest", "Trainer.lse", "Pusher")]
    pipeline = SimpleNamespace(metadata_connection_config=database, components=nodes)
    assert engines.outputs(pipeline).executed == ["Ingest", "Trainer.lse", "Pusher"]
    record(store, "2", {"Pusher": done, "Trainer.lse": cached, "Ingest": cached})
    found = engines.outputs(pipeline)
    assert (found.executed, found.cached) == (["Pusher"], ["Ingest", "Trainer.lse"])
    assert found.artifacts["Trainer.lse"] == {"model": "artifacts/Trainer.lse/2"}
    assert (found.pushed, found.edge) == ("serving/2", "")


def test_beam_keeps_its_default_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.options.pipeline_options import StandardOptions

    from cxrflow.pipeline import engines

    seen = []

    class Runner:
        def run(self, pipeline: object) -> None:
            seen.append((pipeline, StandardOptions.DEFAULT_RUNNER))
            raise RuntimeError("a node broke")

    monkeypatch.setattr(engines, "BeamDagRunner", Runner)
    before = StandardOptions.DEFAULT_RUNNER
    assert before != "FnApiRunner"
    with pytest.raises(RuntimeError, match="a node broke"):
        engines.run("pipeline", "beam")
    assert seen == [("pipeline", "FnApiRunner")]
    assert before == StandardOptions.DEFAULT_RUNNER
