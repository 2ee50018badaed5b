"""What a killed run left: its executions end in ML Metadata, and their folders go."""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Execution

from cxrflow.components import storage
from cxrflow.pipeline import history

_OPEN = (Execution.NEW, Execution.RUNNING)


def clear(store: MetadataStore, pipeline: str, artifacts: str) -> None:
    """Ends whatever of a pipeline didn't; nothing of it may be running.

    Args:
        store: ML Metadata.
        pipeline: its name.
        artifacts: `ir.artifacts` of the pipeline.
    """
    _end(store, artifacts, history.unfinished(store, pipeline))


def clear_node(store: MetadataStore, pipeline: str, artifacts: str, node: str) -> None:
    """Ends what is left of a node, of any run; no other process runs it, while others may run."""
    left = history.unfinished_of(store, pipeline, node)
    _end(store, artifacts, [(node, execution) for execution in left])


def _end(store: MetadataStore, artifacts: str, left: list[tuple[str, Execution]]) -> None:
    for node, execution in left:
        _remove_folders(artifacts, node, execution.id)
    ended = [execution for _, execution in left if execution.last_known_state in _OPEN]
    for execution in ended:
        execution.last_known_state = Execution.FAILED
    if ended:
        store.put_executions(ended)


def _remove_folders(artifacts: str, node: str, execution: int) -> None:
    """Removes what an execution wrote below its node's folder of artifacts, in a bucket, too."""
    is_remote = storage.is_remote(artifacts)
    folder = Path(storage.ARTIFACTS if is_remote else artifacts, node)
    _remove(folder.glob(f"*/{execution}"))
    _remove((folder / ".system").glob(f"*/{execution}"))
    _remove((folder / ".system" / "stateful_working_dir").glob("*"))
    if is_remote:
        storage.remove_execution(artifacts, node, execution)


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        logging.info("removing %s, which a run left that was stopped", folder)
        shutil.rmtree(folder)
