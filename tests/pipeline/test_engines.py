"""What the nodes of a run did is read from ML Metadata; Beam is left as it was."""

from pathlib import Path

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


def record(
    store: MetadataStore, run: str, states: dict[str, int], pipeline: str = "cxrflow"
) -> None:
    """One run, as TFX's launcher leaves it: a context for the run and one for each node."""
    pipeline_type, run_type, node_type = (
        store.put_context_type(mlmd.ContextType(name=name))
        for name in ("pipeline", "pipeline_run", "node")
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
                mlmd.Context(type_id=pipeline_type, name=pipeline),
                mlmd.Context(type_id=run_type, name=run),
                mlmd.Context(type_id=node_type, name=f"{pipeline}.{node}"),
            ],
            reuse_context_if_already_exist=True,
        )


def test_what_ran_and_what_was_cached_is_in_ml_metadata(database: mlmd.ConnectionConfig) -> None:
    from cxrflow.pipeline import history

    done, cached = mlmd.Execution.COMPLETE, mlmd.Execution.CACHED
    store = MetadataStore(database)
    record(store, "1", {"Ingest": done, "Trainer.lse": done, "Pusher": done})
    nodes = ["Ingest", "Trainer.lse", "Pusher"]
    assert history.outputs(store, "cxrflow", "1", nodes).executed == nodes
    record(store, "2", {"Pusher": done, "Trainer.lse": cached, "Ingest": cached})
    found = history.outputs(store, "cxrflow", "2", nodes)
    assert (found.executed, found.cached) == (["Pusher"], ["Ingest", "Trainer.lse"])
    assert found.artifacts["Trainer.lse"] == {"model": "artifacts/Trainer.lse/2"}
    assert (found.pushed, found.edge) == ("serving/2", "")


def test_a_run_is_looked_up_among_those_of_other_pipelines(
    database: mlmd.ConnectionConfig,
) -> None:
    """On one server, even where the runs have the same id."""
    from cxrflow.pipeline import history

    done, failed, running = (getattr(mlmd.Execution, s) for s in ("COMPLETE", "FAILED", "RUNNING"))
    store = MetadataStore(database)
    record(store, "1", {"A": done, "B": failed})
    record(store, "1", {"A": failed, "B": done, "C": running}, pipeline="other")
    assert history.finished(store, "cxrflow", "1") == {"A"}
    assert history.finished(store, "other", "1") == {"B"}
    assert history.finished(store, "other", "2") == set()
    assert [node for node, _ in history.unfinished(store, "cxrflow")] == ["B"]
    assert {node for node, _ in history.unfinished(store, "other")} == {"A", "C"}
    assert history.unfinished(store, "nobody's") == []


def test_leftovers_of_a_killed_run_go_and_its_executions_end(
    database: mlmd.ConnectionConfig, tmp_path: Path
) -> None:
    from cxrflow.pipeline import history, leftovers

    store = MetadataStore(database)
    record(store, "1", {"A": mlmd.Execution.COMPLETE, "B": mlmd.Execution.RUNNING})
    for pipeline in ("other", "cxrflow"):
        leftovers.clear(store, pipeline, str(tmp_path))
    begun = history.executions(store, "cxrflow", "1")
    assert begun["A"].last_known_state == mlmd.Execution.COMPLETE
    assert begun["B"].last_known_state == mlmd.Execution.FAILED
    whole, half = (tmp_path / name / "model" / str(e.id) for name, e in begun.items())
    temporary = tmp_path / "B" / ".system" / "executor_execution" / str(begun["B"].id) / ".temp"
    for folder in (whole, half, temporary):
        folder.mkdir(parents=True)
    leftovers.clear(store, "cxrflow", str(tmp_path))
    assert whole.is_dir() and not half.exists() and not temporary.parent.exists()


@pytest.mark.parametrize("engine", ["local", "beam"])
def test_tfx_launches_with_our_operators_inside_a_run_alone(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.orchestration.portable.launcher import DEFAULT_EXECUTOR_OPERATORS

    from cxrflow.pipeline import engines

    def modules() -> set[str]:
        return {operator.__module__ for operator in DEFAULT_EXECUTOR_OPERATORS.values()}

    seen = []

    class Runner:
        def run_with_ir(self, pipeline: object) -> None:
            seen.append(modules())

    monkeypatch.setattr(engines, "LocalDagRunner", Runner)
    monkeypatch.setattr(engines, "BeamDagRunner", Runner)
    before = modules()
    assert "cxrflow.pipeline.operators" not in before
    engines.run("pipeline", engine)
    assert ["cxrflow.pipeline.operators" in each for each in seen] == [True]
    assert modules() == before


def test_beam_keeps_its_default_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.options.pipeline_options import StandardOptions

    from cxrflow.pipeline import engines

    seen = []

    class Runner:
        def run_with_ir(self, pipeline: object) -> None:
            seen.append((pipeline, StandardOptions.DEFAULT_RUNNER))
            raise RuntimeError("a node broke")

    monkeypatch.setattr(engines, "BeamDagRunner", Runner)
    before = StandardOptions.DEFAULT_RUNNER
    assert before != "FnApiRunner"
    with pytest.raises(RuntimeError, match="a node broke"):
        engines.run("pipeline", "beam")
    assert seen == [("pipeline", "FnApiRunner")]
    assert before == StandardOptions.DEFAULT_RUNNER
