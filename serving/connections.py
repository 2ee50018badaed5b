"""The process's connections: how many there may be, and how a port's end.

The latter is for a gRPC server that stops.

What reaches gRPC's server between its first step of stopping and its word to the clients is
CANCELLED, which no client retries, and Python's API has no step before. A connection that ends is
UNAVAILABLE to every client.
"""

import contextlib
import os
import resource
import socket
import stat

_OWN_DESCRIPTORS = "/dev/fd"  # Linux and macOS


def allow_connections() -> None:
    """Takes as many descriptors as the system lets it: a shell's usual 1,024 are soon used up."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):  # macOS has a limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
            with contextlib.suppress(OSError):  # closed meanwhile, or of another kind
                if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    continue
                one = _duplicate(int(name))
                try:
                    mine = _is_at(one, port)
                except OSError:
                    mine = False
                if mine:
                    found.append(one)
                else:
                    one.close()
    return found


def _duplicate(descriptor: int) -> socket.socket:
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _is_at(one: socket.socket, port: int) -> bool:
    return one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockname()[1] == port
