"""Ends a port's connections, for a gRPC server that stops.

What reaches gRPC's server between its first step of stopping and its word to the clients is
CANCELLED, which no client retries, and Python's API has no step before. A connection that ends is
UNAVAILABLE to every client.
"""

import contextlib
import os
import socket

_OWN_DESCRIPTORS = "/dev/fd"  # Linux and macOS


def end_connections(port: int) -> None:
    """Ends this process's connections at its port, and listening there; the sockets stay open.

    What was written before still reaches the clients. Where the process's descriptors can't be
    listed it does nothing.
    """
    for listening in (True, False):  # first, so that none comes afterwards
        for mine in _sockets(port):
            with contextlib.suppress(OSError), mine:
                if bool(mine.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) == listening:
                    mine.shutdown(socket.SHUT_RDWR)


def _sockets(port: int) -> list[socket.socket]:
    """Duplicates of the process's TCP sockets that are bound to a port."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(_OWN_DESCRIPTORS):
            with contextlib.suppress(OSError):  # no socket, or closed meanwhile
                one = socket.socket(fileno=os.dup(int(name)))
                if one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockname()[1] == port:
                    found.append(one)
                else:
                    one.close()
    return found
