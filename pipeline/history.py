"""What the nodes of a run did and put out, as ML Metadata has it. Imports MLMD."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Event, Execution

from cxrflow.components.storage import local

_DONE = (Execution.COMPLETE, Execution.CACHED)


@dataclass(frozen=True)
class Outputs:
    """What the nodes of a run did and put out."""

    executed: list[str]  # ids of the nodes that really ran, in the pipeline's order
    cached: list[str]
    artifacts: dict[str, dict[str, str]]  # node id -> output key -> folder, or its copy
    pushed: str  # folder of the pushed version; empty if the model wasn't pushed
    edge: str  # folder of the pushed edge bundle, likewise


def executions(store: MetadataStore, pipeline: str, run_id: str) -> dict[str, Execution]:
    """The last execution of each node that this run of this pipeline has begun."""
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    if context is None:
        return {}
    found = sorted(store.get_executions_by_context(context.id), key=lambda e: e.id)
    return dict(_named(store, pipeline, found))


def began(store: MetadataStore, pipeline: str, run_id: str) -> float:
    """When the first node of a run of this pipeline began, in seconds since the epoch."""
    # The run's own context is shared with runs of that id of other pipelines on a server.
    nodes = executions(store, pipeline, run_id).values()
    return min(float(one.create_time_since_epoch) for one in nodes) / 1000


def finished(store: MetadataStore, pipeline: str, run_id: str) -> set[str]:
    """The nodes whose last execution in this run succeeded."""
    last = executions(store, pipeline, run_id)
    return {node for node, execution in last.items() if execution.last_known_state in _DONE}


def unfinished(store: MetadataStore, pipeline: str) -> list[tuple[str, Execution]]:
    """Node and execution of all that began, in whichever run, and didn't succeed."""
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    if context is None:
        return []
    found = store.get_executions_by_context(context.id)
    return [*_named(store, pipeline, (e for e in found if e.last_known_state not in _DONE))]


def unfinished_of(store: MetadataStore, pipeline: str, node: str) -> list[Execution]:
    """The executions of a node that began, in whichever run, and didn't succeed."""
    context = store.get_context_by_type_and_name("node", f"{pipeline}.{node}")
    if context is None:
        return []
    found = store.get_executions_by_context(context.id)
    return [execution for execution in found if execution.last_known_state not in _DONE]


def outputs(store: MetadataStore, pipeline: str, run_id: str, nodes: Iterable[str]) -> Outputs:
    """Looks up one run.

    Args:
        store: ML Metadata, which may have other pipelines' runs too.
        pipeline: its name.
        run_id: of the run.
        nodes: ids of its nodes, in the pipeline's order.
    """
    last = executions(store, pipeline, run_id)
    found: dict[str, dict[str, str]] = {}
    pushed = {"pushed_destination": "", "edge_destination": ""}
    for node, execution in last.items():
        for event in store.get_events_by_execution_ids([execution.id]):
            if event.type == Event.OUTPUT:
                (artifact,) = store.get_artifacts_by_id([event.artifact_id])
                found.setdefault(node, {})[event.path.steps[0].key] = str(local(artifact.uri))
                for name in pushed.keys() & artifact.custom_properties.keys():
                    pushed[name] = artifact.custom_properties[name].string_value
    cached = {n for n, execution in last.items() if execution.last_known_state == Execution.CACHED}
    return Outputs(
        executed=[node for node in nodes if node not in cached],
        cached=[node for node in nodes if node in cached],
        artifacts=found,
        pushed=pushed["pushed_destination"],
        edge=pushed["edge_destination"],
    )


def _named(
    store: MetadataStore, pipeline: str, found: Iterable[Execution]
) -> Iterator[tuple[str, Execution]]:
    for execution in found:
        for context in store.get_contexts_by_execution(execution.id):
            owner, _, node = context.name.partition(".")
            if context.type == "node" and owner == pipeline:
                yield node, execution
