"""Who works in a run's folder: two at once would share checkpoints and metadata."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrflow.schema.files import held

_ADVICE = "wait for it or give --root another folder"


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds a run's folder for all of its nodes.

    Raises:
        CxrflowError: another process holds it; says which.
    """
    with held(root / ".lock", f"another run works in {root}", _ADVICE):
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
        held(root / ".lock", f"another run works in {root}", _ADVICE, shared=True),
        held(locks / node, f"{node} runs in {root} already", _ADVICE),
    ):
        yield
