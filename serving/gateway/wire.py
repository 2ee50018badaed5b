"""What a sender's connection may do before and beside DICOM: how many, how large a PDU, how slow.

pynetdicom itself reads a PDU of any length from anybody, and waits for its end for ever.
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from pynetdicom import evt

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.gateway.settings import GatewayConfig, LimitsConfig
from cxrflow.serving.tls import server_context

# Of connections to associations: those that don't ask for an association yet are bounded too.
_CONNECTIONS = 4
_PART = 2**16  # bytes that are read at once

logger = logging.getLogger("cxrflow.gateway")


def has_room(address: str, limits: LimitsConfig, connections: int) -> bool:
    """Whether a connection is taken, before anything is made for it; in a burst some more are.

    Args:
        address: where it comes from.
        limits: how many there may be.
        connections: how many there are beside it.
    """
    if connections < _CONNECTIONS * limits.max_associations:
        return True
    logger.warning("rejected %s: %d connections are open", address, connections)
    return False


def guard(event: evt.Event, limits: LimitsConfig) -> None:
    """Bounds what a connection sends and how long it may take.

    Args:
        event: EVT_CONN_OPEN.
        limits: what it may do.
    """
    address, connection = event.assoc.requestor.address, _socket(event)
    connection.socket.settimeout(limits.network_seconds)

    def end(why: str) -> None:
        logger.warning("ended the connection of %s: %s", address, why)

    # The one way in: AssociationSocket is made by the library.
    setattr(connection, "recv", lambda count: _read(connection, count, limits, end))  # noqa: B010


def let_go(event: evt.Event) -> None:
    """Ends the library's wait for a request on a connection that closed without one.

    Its thread would be counted as a connection until limits.network_seconds are over.

    Args:
        event: EVT_CONN_CLOSE.
    """
    dul = event.assoc.dul
    # PS3.8: Sta2 awaits a request; Sta13, the close after an abort of ours.
    unasked = dul.state_machine.current_state in ("Sta2", "Sta13")
    if unasked and event.assoc.requestor.primitive is None and dul.to_user_queue.empty():
        dul.to_user_queue.put(None)  # what it takes for the end of its patience


def _socket(event: evt.Event) -> Any:
    """The library's AssociationSocket."""
    return event.assoc.dul.socket


def _read(
    connection: Any, count: int, limits: LimitsConfig, end: Callable[[str], None]
) -> bytearray:
    """As AssociationSocket.recv, with bounds.

    Raises:
        OSError: it ends.
    """
    raw: socket.socket | None = connection.socket
    if raw is None:
        raise ConnectionError("it is closed")
    if count > limits.max_pdu_bytes:
        end(f"a PDU of {count:,} bytes, limits.max_pdu_bytes is {limits.max_pdu_bytes:,}")
        raise ConnectionError("too large")
    found, last = bytearray(), time.monotonic() + limits.network_seconds
    try:
        while len(found) < count:
            if time.monotonic() > last:
                raise TimeoutError
            part = raw.recv(min(count - len(found), _PART))
            if not part:
                break
            found += part
    except ssl.SSLError as error:
        end(f"TLS: {error.reason or error}")
        raise
    except TimeoutError:
        end(f"a PDU wasn't whole within limits.network_seconds ({limits.network_seconds:g})")
        raise
    return found


class LateHandshake:
    """Encrypts in the connection's own thread: who says nothing doesn't hold up the others."""

    def __init__(self, context: ssl.SSLContext, seconds: float):
        """`seconds`: that a step of it may take."""
        self._context, self._seconds = context, seconds

    def wrap_socket(self, raw: socket.socket, server_side: bool) -> ssl.SSLSocket:
        """As SSLContext's; the handshake comes with the first byte that is read."""
        raw.settimeout(self._seconds)
        return self._context.wrap_socket(
            raw, server_side=server_side, do_handshake_on_connect=False
        )


def encryption(config: GatewayConfig) -> LateHandshake | None:
    """For the server of pynetdicom; None without a certificate.

    Raises:
        CxrflowError: a file can't be used.
    """
    try:
        context = server_context(config)
    except CxrflowError as error:
        raise CxrflowError(f"gateway: {error}") from None
    return LateHandshake(context, config.limits.network_seconds) if context else None


def client_context(config: GatewayConfig, ca: str) -> ssl.SSLContext:
    """For a destination with TLS: its certificate is checked, ours is shown.

    Args:
        config: with our certificate, if there is one.
        ca: PEM file of who signed the destination's; empty: the system's.

    Raises:
        CxrflowError: a file can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if config.tls_certificate:
            context.load_cert_chain(config.tls_certificate, config.tls_key, password="")
    except OSError as error:  # ssl's own errors are some
        raise CxrflowError(f"gateway: the certificate, key or CA can't be used: {error}") from None
    return context
