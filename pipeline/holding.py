"""Who works in a run's folder: two runs at once would share checkpoints and metadata.

`.lock` is held by a run alone, or shared by the nodes of one run, which also hold a file each in
`.locks`. A run whose nodes don't run at the moment holds nothing.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import held, holder_of, locked

_ADVICE = "wait for it or give --root another folder"
_STARTING = ".starting"  # among the locks of nodes: held by whoever looks at these


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds a run's folder for all of its nodes.

    Raises:
        CxrflowError: another process holds it; says which.
    """
    with held(root / ".lock", _refusal(root), _ADVICE, others=lambda: _first_node(root)):
        yield


@contextmanager
def only_node_in(root: Path, node: str, run_id: str) -> Iterator[None]:
    """Holds one node in a run's folder, beside processes that hold others of the same run.

    Raises:
        CxrflowError: another process runs this node there, or all of them, or a node of another
            run; says which.
    """
    locks = root / ".locks"
    locks.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(held(root / ".lock", _refusal(root), _ADVICE, shared=True))
        with locked(locks / _STARTING, wait=True):
            for other, holder in _nodes(locks):
                if not holder.startswith(_name(other, run_id)):
                    raise CxrflowError(f"{_refusal(root)} ({holder}): {_ADVICE}")
            refusal = f"{node} runs in {root} already"
            stack.enter_context(held(locks / node, refusal, _ADVICE, me=_name(node, run_id)))
        yield


def _refusal(root: Path) -> str:
    return f"another run works in {root}"


def _name(node: str, run_id: str) -> str:
    return f"{node} of run {run_id}, "


def _first_node(root: Path) -> str:
    """Who holds a node there, if anybody does."""
    locks = root / ".locks"
    if not locks.is_dir():
        return ""
    with locked(locks / _STARTING, wait=True):
        return next((holder for _, holder in _nodes(locks)), "")


def _nodes(locks: Path) -> Iterator[tuple[str, str]]:
    """The nodes that run, and who holds each; for who holds _STARTING, as it tries the locks."""
    for file in sorted(locks.iterdir()):
        if file.name != _STARTING and (holder := holder_of(file)) is not None:
            yield file.name, holder
