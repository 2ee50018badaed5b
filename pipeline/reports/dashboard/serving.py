"""Shows written pages in a browser of this machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cxrflow.schema.errors import CxrflowError

HOST = "127.0.0.1"  # no other machine reaches it


class _Handler(SimpleHTTPRequestHandler):
    """The folder's files, fresh each time, without a line for each."""

    def __init__(self, *args: object, directory: str = "", **kwargs: object) -> None:
        super().__init__(*args, directory=directory, **kwargs)  # type: ignore[arg-type]

    def end_headers(self) -> None:
        """Lets browsers ask no other host, whatever a page holds."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'self' data:; script-src 'self' 'unsafe-eval' 'unsafe-inline'; "
            "style-src 'self' 'unsafe-inline'",
        )
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def listening(port: int) -> Iterator[ThreadingHTTPServer]:
    """A server on a port of loopback, which answers as soon as `show` is called; 0: a free port.

    Raises:
        CxrflowError: the port is taken, or isn't to be had.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), _Handler)
    except OSError as error:
        raise CxrflowError(
            f"port {port} can't be had ({error.strerror}): --port names another, 0 a free one"
        ) from None
    with server:
        yield server


def show(server: ThreadingHTTPServer, folder: Path) -> None:
    """Serves a folder's files until Ctrl-C."""
    sys.stdout.flush()
    server.RequestHandlerClass = partial(_Handler, directory=str(folder))
    with suppress(KeyboardInterrupt):
        server.serve_forever()
