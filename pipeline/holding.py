"""Who works in a run's folder: two at once would share checkpoints and metadata."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import locked


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds a run's folder for all of its nodes.

    Raises:
        CxrflowError: another process holds it; says which.
    """
    with _held(root / ".lock", f"another run works in {root}"):
        yield


@contextmanager
def only_node_in(root: Path, node: str) -> Iterator[None]:
    """Holds one node in a run's folder, beside processes that hold others.

    Raises:
        CxrflowError: another process runs this node there, or all of them; says which.
    """
    locks = root / ".locks"
    locks.mkdir(exist_ok=True)
    with (
        _held(root / ".lock", f"another run works in {root}", shared=True),
        _held(locks / node, f"{node} runs in {root} already"),
    ):
        yield


@contextmanager
def _held(path: Path, refusal: str, shared: bool = False) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, wait=False, shared=shared, holder=_myself()))
        except BlockingIOError:
            raise CxrflowError(
                f"{refusal}{_holder(path)}: wait for it or give --root another folder"
            ) from None
        yield


def _myself() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}"


def _holder(path: Path) -> str:
    try:
        said = " ".join(path.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ""
    return said and f" ({said})"
