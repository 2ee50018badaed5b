"""Google Cloud Storage on loopback: gcp-storage-emulator, where TensorFlow looks for Google's.

TensorFlow has Google's addresses built in, but asks by way of a proxy, and takes a certificate's
authority from the environment: this is a proxy that answers in Google's place, with the one bucket
BUCKET in memory. As `python gcs_server.py CERTIFICATE KEY`; prints its port. In a process of its
own, as TensorFlow waits for some answers while it keeps all threads of Python from running.
"""

import ssl
import sys
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any

from gcp_storage_emulator import server as emulator
from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.storage import Storage

BUCKET = "cxr-artifacts"
FORBIDDEN = "somebody-elses"  # nobody may do anything there

_read_data = emulator._read_data
# It takes an empty object, such as TensorFlow's marker of a folder, for none.
emulator._read_data = lambda *request: _read_data(*request) or b""


class Handler(emulator.RequestHandler):  # type: ignore[misc]
    """The emulator's, behind CONNECT and TLS."""

    protocol_version = "HTTP/1.1"
    context: ssl.SSLContext
    one_at_a_time = threading.Lock()  # the emulator isn't made for threads

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Location":  # the emulator doesn't know that it speaks TLS
            value = value.replace("http://", "https://", 1)
        super().send_header(keyword, value)


def guarded(method: str) -> Any:
    """The emulator's answer to a method, with rights."""
    answer = getattr(emulator.RequestHandler, method)

    def do(self: Any) -> None:
        if f"/{FORBIDDEN}" in self.path:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        # TensorFlow sends both; chunks are what counts (RFC 9112, 6.3).
        if is_chunked := "Transfer-Encoding" in self.headers:
            del self.headers["Content-Length"]
        with self.one_at_a_time:
            answer(self)
        self.close_connection = self.close_connection or is_chunked  # its end isn't read

    return do


if __name__ == "__main__":
    Handler.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Handler.context.load_cert_chain(*sys.argv[1:3])
    for name in ("do_GET", "do_POST", "do_PUT", "do_DELETE", "do_PATCH"):
        setattr(Handler, name, guarded(name))
    storage = Storage(use_memory_fs=True)
    create_bucket(BUCKET, storage)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, storage))
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
