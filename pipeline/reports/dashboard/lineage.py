"""What ML Metadata knows of a root's runs: which node ran when, on what, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

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


def read_runs(database: Path) -> tuple[PipelineRun, ...]:
    """All runs that a root's metadata.sqlite knows, the oldest first; nothing is changed.

    Raises:
        CxrflowError: there is no such file, or ML Metadata can't read it.
    """
    if not database.is_file():
        raise CxrflowError(f"there is no {database.name} beside the run: its lineage is unknown")
    from ml_metadata.errors import StatusError
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as proto

    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    config.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READONLY
    try:
        return _read(MetadataStore(config), proto)
    except StatusError as error:
        reason = " ".join(str(error).split())[:200]
        raise CxrflowError(f"{database.name} can't be read by ML Metadata: {reason}") from None


def _read(store: Any, proto: Any) -> tuple[PipelineRun, ...]:
    kinds = {one.id: one.name for one in store.get_artifact_types()}
    artifacts = {
        one.id: Artifact(one.id, kinds[one.type_id], one.uri, _texts(one.custom_properties))
        for one in store.get_artifacts()
    }
    into = {proto.Event.INPUT, proto.Event.DECLARED_INPUT}
    found = []
    for context in store.get_contexts_by_type("pipeline_run"):
        executions = store.get_executions_by_context(context.id)
        events = store.get_events_by_execution_ids([one.id for one in executions])
        channels: dict[tuple[int, bool], dict[str, list[Artifact]]] = {}
        for event in events:
            side = channels.setdefault((event.execution_id, event.type in into), {})
            side.setdefault(event.path.steps[0].key, []).append(artifacts[event.artifact_id])
        found.append(
            PipelineRun(
                datetime.fromtimestamp(context.create_time_since_epoch / 1000),
                tuple(
                    _execution(one, store, channels, proto)
                    for one in sorted(executions, key=lambda one: one.create_time_since_epoch)
                ),
            )
        )
    return tuple(sorted(found, key=lambda run: run.started))


def _execution(
    one: Any,
    store: Any,
    channels: Mapping[tuple[int, bool], Mapping[str, list[Artifact]]],
    proto: Any,
) -> Execution:
    state = proto.Execution.State.Name(one.last_known_state)
    nodes = [c.name for c in store.get_contexts_by_execution(one.id) if c.type == "node"]
    return Execution(
        number=one.id,
        node=nodes[0].partition(".")[2] if nodes else one.type,  # "<pipeline>.<node>"
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
