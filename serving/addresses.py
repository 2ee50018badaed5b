"""Where a server listens and a client asks; an IPv6 address stands in brackets before a port."""

import errno
import socket
from typing import Any

from cxrflow.schema.errors import CxrflowError

_HINTS = {
    errno.EADDRINUSE: "choose another with {option}",
    errno.EACCES: "choose one above 1023 with {option}",
}


def join(host: str, port: int) -> str:
    """HOST:PORT, [HOST]:PORT of an IPv6 address."""
    return f"{in_brackets(host)}:{port}"


def in_brackets(host: str) -> str:
    """The host as it stands before a port."""
    return f"[{bare(host)}]" if ":" in host else host


def bare(host: str) -> str:
    """The host without brackets, as sockets take it."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def split(address: str) -> tuple[str, int]:
    """Host, without brackets, and port.

    Raises:
        CxrflowError: it isn't HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 2**16
    if is_port and ":" in host and "/" not in host and bare(host) == host:
        raise CxrflowError(f"{address} is no server's address: write [{host}]:{port} for IPv6")
    if not is_port or not bare(host) or "/" in host:
        raise CxrflowError(f"{address} is no server's address: give HOST:PORT")
    try:
        host.encode("idna")
    except UnicodeError:
        raise CxrflowError(f"{address} is no server's address: no host is called so") from None
    return bare(host), int(port)


def family(host: str) -> socket.AddressFamily:
    """IPv4 where the host has such an address, else IPv6. Raises OSError if it has none."""
    found = [info[0] for info in _addresses(host, 0)]
    return socket.AF_INET if socket.AF_INET in found else socket.AF_INET6


def require_free(host: str, port: int, option: str) -> None:
    """Sees whether a server could listen there now, without importing one.

    Args:
        host: name or address, with or without brackets.
        port: 0 stands for any free one.
        option: of the command line that gives another port.

    Raises:
        CxrflowError: the port is taken or forbidden, or the host isn't this machine.
    """
    if not bare(host):
        raise CxrflowError("--host is empty: name an address of this machine, :: for all")
    refused: OSError | None = None
    free = False
    try:
        for kind, *_, address in _addresses(host, port):
            with socket.socket(kind, socket.SOCK_STREAM) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    listener.bind(address)
                    free = True
                except OSError as error:  # of several addresses one will do, if none is taken
                    refused = error
                    if error.errno == errno.EADDRINUSE:
                        raise
    except OSError as error:
        raise cannot_listen(host, port, option, error) from None
    if refused and not free:
        raise cannot_listen(host, port, option, refused)


def cannot_listen(host: str, port: int, option: str, error: OSError) -> CxrflowError:
    """What to tell about an address that couldn't be bound."""
    hint = _HINTS.get(error.errno or 0, "name an address of this machine with --host")
    reason = error.strerror or str(error)
    return CxrflowError(
        f"Can't listen on {join(host, port)}: {reason}; {hint.format(option=option)}"
    )


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """What getaddrinfo finds. Raises OSError for a host that can't be."""
    try:
        return socket.getaddrinfo(
            bare(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError:  # no name that DNS allows
        raise OSError(errno.EINVAL, "no host's name") from None
