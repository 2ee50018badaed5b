"""A stand-in for Kaggle's server, which Kaggle's real client asks, with the faults of networks."""

import http.server
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ASK = "/v1/datasets.DatasetApiService/DownloadDataset"
FILE = "/file"
USER, KEY = "someone", "secret"
_PIECE = 2**16


@dataclass
class Kaggle:
    """What the server has, and how it behaves."""

    file: Path  # the archive of every data set in `known`
    known: tuple[str, ...] = ("nih-chest-xrays/sample", "nih-chest-xrays/data")
    etag: str = '"1"'
    headers: dict[str, str] = field(default_factory=dict)  # of the file
    ranges: bool = True
    drop_every: int = 0  # bytes after which a connection breaks; 0: never
    drops: int = 10**9  # so often
    # By path: answers to give before the real ones, each a status and Retry-After.
    refusals: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and Range of every request
    sent: int = 0  # bytes of the file


@contextmanager
def served(kaggle: Kaggle) -> Iterator[str]:
    """The server's address while the block runs."""

    class Handler(_Handler):
        pass

    Handler.kaggle = kaggle
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers as Kaggle does: a redirect to a file on another path, with ranges."""

    kaggle: Kaggle

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused():
            return
        named = f"{body.get('ownerSlug')}/{body.get('datasetSlug')}"
        known = self.path == ASK and named in self.kaggle.known
        signed = self.headers["Authorization"] == _basic()
        self.send_response((302 if signed else 401) if known else 404)
        self.send_header("Location", f"{FILE}?signature=hush")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        if self._refused():
            return
        size, start = self.kaggle.file.stat().st_size, self._start()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.kaggle.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", self.kaggle.etag)
        self.send_header("Content-Length", str(size - start))
        for name, value in self.kaggle.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(start, size)

    def _start(self) -> int:
        asked, condition = self.headers["Range"] or "", self.headers["If-Range"]
        if not self.kaggle.ranges or condition not in (None, self.kaggle.etag):
            return 0
        return int(asked.removeprefix("bytes=").partition("-")[0] or 0)

    def _send(self, start: int, size: int) -> None:
        end = size
        if self.kaggle.drop_every and self.kaggle.drops and start + self.kaggle.drop_every < size:
            end, self.kaggle.drops = start + self.kaggle.drop_every, self.kaggle.drops - 1
        with self.kaggle.file.open("rb") as file:
            file.seek(start)
            while start < end and (data := file.read(min(_PIECE, end - start))):
                self.kaggle.sent += len(data)  # before the client has it, and a test counts
                try:
                    self.wfile.write(data)
                except OSError:  # the client has gone
                    return
                start += len(data)

    def _refused(self) -> bool:
        path = self.path.partition("?")[0]
        self.kaggle.asked.append((path, self.headers["Range"] or ""))
        if not self.kaggle.refusals[path]:
            return False
        status, retry_after = self.kaggle.refusals[path].pop(0)
        body = b"<html>not now</html>"
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True


def _basic() -> str:
    import base64

    return "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
