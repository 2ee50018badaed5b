"""The two orchestrators that a run can use, and where its artifacts lie. Imports TFX."""

import logging as std_logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from absl import logging
from apache_beam.options.pipeline_options import StandardOptions
from ml_metadata.metadata_store import MetadataStore
from tfx import v1 as tfx
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner


def run(pipeline: tfx.dsl.Pipeline, engine: str) -> None:
    """Runs `pipeline` with TFX's runner for `engine` ("local" or "beam")."""
    logging.set_verbosity(logging.INFO)
    std_logging.getLogger("apache_beam").setLevel(std_logging.WARNING)
    if engine == "local":
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return
    with _fn_api_runner():
        BeamDagRunner().run(pipeline)


@contextmanager
def _fn_api_runner() -> Iterator[None]:
    """Makes Beam's own runner in this process the default one.

    BeamDagRunner takes no options, and Beam's default first tries to download a Go binary.
    """
    before = StandardOptions.DEFAULT_RUNNER
    StandardOptions.DEFAULT_RUNNER = "FnApiRunner"
    try:
        yield
    finally:
        StandardOptions.DEFAULT_RUNNER = before


@dataclass(frozen=True)
class Outputs:
    """What the nodes of the last run did and put out, as ML Metadata has it."""

    executed: list[str]  # ids of the nodes that really ran, in the pipeline's order
    cached: list[str]
    artifacts: dict[str, dict[str, str]]  # node id -> output key -> folder
    pushed: str  # folder of the pushed version; empty if the model wasn't pushed
    edge: str  # folder of the pushed edge bundle, likewise


def outputs(pipeline: tfx.dsl.Pipeline) -> Outputs:
    """Looks up the last run in ML Metadata."""
    store = MetadataStore(pipeline.metadata_connection_config)
    run_context = max(
        store.get_contexts_by_type("pipeline_run"), key=lambda c: c.create_time_since_epoch
    )
    found: dict[str, dict[str, str]] = {}
    cached = set()
    pushed = {"pushed_destination": "", "edge_destination": ""}
    for execution in store.get_executions_by_context(run_context.id):
        contexts = store.get_contexts_by_execution(execution.id)
        node = next(c.name for c in contexts if c.type == "node").partition(".")[2]
        if execution.last_known_state == execution.CACHED:
            cached.add(node)
        for event in store.get_events_by_execution_ids([execution.id]):
            if event.type == event.OUTPUT:
                (artifact,) = store.get_artifacts_by_id([event.artifact_id])
                found.setdefault(node, {})[event.path.steps[0].key] = artifact.uri
                for name in pushed.keys() & artifact.custom_properties.keys():
                    pushed[name] = artifact.custom_properties[name].string_value
    nodes = [component.id for component in pipeline.components]
    return Outputs(
        executed=[node for node in nodes if node not in cached],
        cached=[node for node in nodes if node in cached],
        artifacts=found,
        pushed=pushed["pushed_destination"],
        edge=pushed["edge_destination"],
    )
