"""The access log: one line a request, and nothing of what was in it."""

import logging

logger = logging.getLogger("cxrflow.access")

_LONGEST = 200  # characters of what a client chose


def log(
    peer: str,
    what: str,
    model: str,
    version: int | None,
    status: str | int,
    seconds: float,
    size: int,
) -> None:
    """Writes a request's line.

    Args:
        peer: address and port of the client.
        what: gRPC's method, or REST's method and path without its query.
        model: as the client named it.
        version: that answered; None where none did.
        status: gRPC's code or HTTP's status.
        seconds: from the whole request to its answer.
        size: bytes of the request's body.
    """
    logger.info(
        "%s %s model=%s version=%s %s %.1f ms %d bytes",
        *(peer, _plain(what), _plain(model) or "-", "-" if version is None else version),
        *(status, seconds * 1000, size),
    )


def _plain(text: str) -> str:
    """One line whatever a client put into it."""
    return text[:_LONGEST].encode("unicode_escape").decode("ascii")
