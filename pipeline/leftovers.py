"""What a killed run left: its executions end in ML Metadata, and their folders go."""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Execution

from cxrflow.pipeline import history

_OPEN = (Execution.NEW, Execution.RUNNING)


def clear(store: MetadataStore, pipeline: str, artifacts: Path) -> None:
    """Ends whatever of a pipeline didn't; nothing of it may be running.

    Args:
        store: ML Metadata.
        pipeline: its name.
        artifacts: the folder that TFX calls the pipeline's root.
    """
    left = history.unfinished(store, pipeline)
    for node, execution in left:
        remove_folders(artifacts / node, execution.id)
    ended = [execution for _, execution in left if execution.last_known_state in _OPEN]
    for execution in ended:
        execution.last_known_state = Execution.FAILED
    if ended:
        store.put_executions(ended)


def remove_folders(node: Path, execution: int) -> None:
    """Removes what an execution wrote below its node's folder of artifacts."""
    working = node / ".system" / "stateful_working_dir"
    _remove(node.glob(f"*/{execution}"))
    _remove((node / ".system").glob(f"*/{execution}"))
    _remove(working.glob("*"))


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        logging.info("removing %s, which a run left that was stopped", folder)
        shutil.rmtree(folder)
