"""Ports for servers of tests."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Below those that Linux gives whoever asks for any, so that nobody gets one before its server
# has started.
_PORTS = range(20_000, 32_768)
_ANY = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, another one each time."""
    while True:
        port = _ANY.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in _given:
                _given.add(port)
                return port


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else gets meanwhile."""
    with socket.socket() as bound:  # and never listens
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])
