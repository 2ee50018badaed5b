"""What a step keeps so that another attempt could go on: it goes once the outputs are safe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_waiting: ContextVar[list[Callable[[], None]] | None] = ContextVar("waiting", default=None)


def clear_when_safe(clear: Callable[[], None]) -> None:
    """Calls `clear` once the outputs are safe: at once, or later where they go to a bucket."""
    waiting = _waiting.get()
    if waiting is None:
        clear()
    else:
        waiting.append(clear)


@contextmanager
def until_safe() -> Iterator[None]:
    """A block, at whose end the outputs are safe; where it fails nothing is cleared."""
    waiting: list[Callable[[], None]] = []
    before = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(before)
    for clear in waiting:
        clear()
