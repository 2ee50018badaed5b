"""What ML Metadata has of a run, where other pipelines' runs are beside it."""

import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.tf


def test_a_run_began_with_its_own_first_node(tmp_path: Path) -> None:
    """Not with that of another root's run of the same id, which shares the run's context."""
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration import metadata

    from cxrflow.pipeline import history

    store = MetadataStore(metadata.sqlite_metadata_connection_config(f"{tmp_path}/metadata.sqlite"))
    kind = store.put_execution_type(mlmd.ExecutionType(name="Node"))
    kinds = {n: store.put_context_type(mlmd.ContextType(name=n)) for n in ("pipeline_run", "node")}
    (run,) = store.put_contexts([mlmd.Context(type_id=kinds["pipeline_run"], name="7")])
    begun = {}
    for pipeline, node in (("a", "First"), ("b", "First"), ("b", "Second")):
        (context,) = store.put_contexts(
            [mlmd.Context(type_id=kinds["node"], name=f"{pipeline}.{node}")]
        )
        (begun[pipeline, node],) = store.put_executions([mlmd.Execution(type_id=kind)])
        links = [
            mlmd.Association(execution_id=begun[pipeline, node], context_id=one)
            for one in (run, context)
        ]
        store.put_attributions_and_associations([], links)
        time.sleep(0.02)
    for pipeline in "ab":
        (first,) = store.get_executions_by_id([begun[pipeline, "First"]])
        expected = first.create_time_since_epoch / 1000
        assert history.began(store, pipeline, "7") == expected
    assert history.began(store, "a", "7") < history.began(store, "b", "7")
