"""What ML Metadata knows of a root's runs: which node ran when, on what, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cxrflow.pipeline import metadata_server
from cxrflow.pipeline.metadata_server import MetadataConfig
from cxrflow.schema.errors import CxrflowError

_STATES = {"COMPLETE": "ran", "CACHED": "from cache", "FAILED": "broke", "RUNNING": "unfinished"}


@dataclass(frozen=True)
class Artifact:
    """A folder that a node wrote."""

    number: int
    kind: str
    uri: str  # relative to the root, as the run wrote it
    properties: Mapping[str, str]


@dataclass(frozen=True)
class Execution:
    """A node in one run."""

    number: int
    node: str
    state: str  # a value of _STATES, or MLMD's own word
    seconds: float
    settings: Mapping[str, str]  # what the node was told, as text
    inputs: Mapping[str, tuple[Artifact, ...]]  # by channel
    outputs: Mapping[str, tuple[Artifact, ...]]


@dataclass(frozen=True)
class PipelineRun:
    """One run of the pipeline."""

    started: datetime
    executions: tuple[Execution, ...]  # in the order in which they started

    def of(self, node: str) -> Execution | None:
        """The node's execution in this run."""
        return next((one for one in self.executions if one.node == node), None)


def read_runs(
    root: Path, config: MetadataConfig | None = None, name: str = ""
) -> tuple[PipelineRun, ...]:
    """All runs of a root that ML Metadata knows, the oldest first; nothing is changed.

    Args:
        root: the run's folder.
        config: where ML Metadata is; by default in the root's metadata.sqlite.
        name: of the pipeline; a server may have others' runs too.

    Raises:
        CxrflowError: it isn't there, or can't be read.
    """
    from ml_metadata.errors import StatusError
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as proto

    config = config or MetadataConfig()
    pipeline = password = ""
    if config.is_server:
        metadata_server.require(config)
        pipeline = metadata_server.pipeline_name(
            name, config, metadata_server.root_id(config, root)
        )
        password = config.password()
    elif not (root / "metadata.sqlite").is_file():
        raise CxrflowError("there is no metadata.sqlite beside the run: its lineage is unknown")
    connection = metadata_server.connection_config(config, root, password)
    if not config.is_server:
        connection.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READONLY
    try:
        return _read(MetadataStore(connection), proto, pipeline)
    except (StatusError, RuntimeError) as error:
        if config.is_server:
            raise metadata_server.refused(config) from None
        reason = " ".join(str(error).split())[:200]
        raise CxrflowError(f"metadata.sqlite can't be read by ML Metadata: {reason}") from None


def _read(store: Any, proto: Any, pipeline: str) -> tuple[PipelineRun, ...]:
    """The runs of a pipeline; without its name all there are."""
    kinds = {one.id: one.name for one in store.get_artifact_types()}
    into = {proto.Event.INPUT, proto.Event.DECLARED_INPUT}
    found = []
    for context, nodes in _ran(store, pipeline):
        events = store.get_events_by_execution_ids([one.id for one, _ in nodes])
        artifacts = {
            one.id: Artifact(one.id, kinds[one.type_id], one.uri, _texts(one.custom_properties))
            for one in store.get_artifacts_by_id(sorted({event.artifact_id for event in events}))
        }
        channels: dict[tuple[int, bool], dict[str, list[Artifact]]] = {}
        for event in events:
            side = channels.setdefault((event.execution_id, event.type in into), {})
            side.setdefault(event.path.steps[0].key, []).append(artifacts[event.artifact_id])
        found.append(
            PipelineRun(
                datetime.fromtimestamp(context.create_time_since_epoch / 1000),
                tuple(_execution(one, node, channels, proto) for one, node in nodes),
            )
        )
    return tuple(found)


def _ran(store: Any, pipeline: str) -> list[tuple[Any, list[tuple[Any, str]]]]:
    """The runs' contexts, each with its executions and their nodes, all by number.

    By number, as a clock may have been set back. Roots whose orchestrators count alike have their
    runs together on a server: what is another pipeline's is left out.
    """
    if pipeline:
        owner = store.get_context_by_type_and_name("pipeline", pipeline)
        executions = store.get_executions_by_context(owner.id) if owner else []
    else:
        executions = store.get_executions()
    found: dict[int, tuple[Any, list[tuple[Any, str]]]] = {}
    for one in sorted(executions, key=lambda one: one.id):
        contexts = {each.type: each for each in store.get_contexts_by_execution(one.id)}
        if run := contexts.get("pipeline_run"):
            _, _, node = contexts["node"].name.partition(".")  # "<pipeline>.<node>"
            found.setdefault(run.id, (run, []))[1].append((one, node))
    return [found[number] for number in sorted(found)]


def _execution(
    one: Any,
    node: str,
    channels: Mapping[tuple[int, bool], Mapping[str, list[Artifact]]],
    proto: Any,
) -> Execution:
    state = proto.Execution.State.Name(one.last_known_state)
    return Execution(
        number=one.id,
        node=node,
        state=_STATES.get(state, state.lower()),
        seconds=(one.last_update_time_since_epoch - one.create_time_since_epoch) / 1000,
        settings={**_texts(one.properties), **_texts(one.custom_properties)},
        inputs=_sides(channels.get((one.id, True), {})),
        outputs=_sides(channels.get((one.id, False), {})),
    )


def _sides(channels: Mapping[str, list[Artifact]]) -> dict[str, tuple[Artifact, ...]]:
    return {name: tuple(found) for name, found in sorted(channels.items())}


def _texts(properties: Mapping[str, Any]) -> dict[str, str]:
    """MLMD's values as text; TFX's own notes to itself begin with two underscores."""
    return {
        name: str(getattr(value, value.WhichOneof("value") or "string_value"))
        for name, value in properties.items()
        if not name.startswith("__")
    }


def data_version(run: PipelineRun) -> str:
    """The hash of the data that ImageExampleGen read; empty where it isn't known."""
    ingest = run.of("ImageExampleGen")
    try:
        return str(json.loads(ingest.settings["settings"])["data_version"]) if ingest else ""
    except (KeyError, ValueError, TypeError):
        return ""
