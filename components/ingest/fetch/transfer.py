"""A file over HTTP, through broken connections, full servers and links that expire.

Kaggle's client knows five retries for a file, however long, and writes the body of a refusal (a
link that has expired, a server that asks to wait) over what it had: it signs in and finds the file,
the bytes are fetched here.
"""

import email.utils
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from cxrflow.components.ingest.fetch.part import Part, Remote
from cxrflow.schema.progress import report as report_progress

_CHUNK_BYTES = 2**16  # what a broken connection costs at most
_TIMEOUT_S = (30, 60)  # to connect, and between two pieces
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long a download keeps trying."""

    failures: int = 5  # in a row, without a new byte
    longest_wait_s: float = 600  # that a server may ask for


class Refused(Exception):
    """An answer that trying again doesn't change."""

    def __init__(self, status: int, wait_s: float = 0) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.wait_s = wait_s  # what the server asks for; 0: nothing


@dataclass
class Download:
    """A file that is to be fetched."""

    ask: Callable[[], Any]  # gives a streamed `requests.Response` of the whole file
    dataset: str  # what it is, for the sidecar
    allow: Callable[[Remote, int], None]  # told of it, and of the bytes here, before any is written
    patience: Patience = Patience()
    _link: "_Link | None" = field(default=None, init=False)  # where the bytes are

    def into(self, part: Part) -> None:
        """Fetches what `part` lacks.

        Raises:
            Refused: the server refuses, or asks for a longer wait than there is patience for.
            requests.RequestException: the connection fails again and again.
            Damaged: the server sends more than it promised.
        """
        import requests
        from urllib3.exceptions import HTTPError

        farthest, failures = 0, 0
        while True:
            fresh = self._link is None
            try:
                return self._go_on(part)
            except (requests.RequestException, HTTPError) as error:
                if part.size > farthest:
                    farthest, failures = part.size, 0
                failures += 1
                answer = getattr(error, "response", None)
                wait = _asked_wait(answer)
                if answer is not None:
                    self._judge(answer.status_code, wait or 0, fresh, failures)
                elif failures >= self.patience.failures:
                    raise
            time.sleep(2 ** (failures - 1) if wait is None else wait)

    def _judge(self, status: int, wait: float, fresh: bool, failures: int) -> None:
        """Raises Refused, or lets another try begin, with a new link if that one has expired."""
        last = failures >= self.patience.failures or wait > self.patience.longest_wait_s
        if last or (fresh and status not in _TRANSIENT):
            raise Refused(status, wait)
        if status not in _TRANSIENT:
            self._link = None

    def _go_on(self, part: Part) -> None:
        """One connection's worth of the file; returns when all of it is here."""
        response = None
        if self._link is None:
            whole = self.ask()
            self._link = _Link.of(whole)
            response = self._begun(whole, part)
        if part.complete:
            return
        if response is None:
            response = self._rest(self._link, part)
        with closing(response):
            _receive(response, part)

    def _begun(self, response: Any, part: Part) -> Any | None:
        """The response of the whole file where it is used, or None if its beginning is here."""
        try:
            remote = Remote.of(self.dataset, response)
            unused = part.promised or "Content-Encoding" in response.headers
            if unused:  # reading again what is here takes a while
                response.close()
            if part.remote is None:
                part.begin(remote)
            elif not part.remote.is_same(remote):
                part.restart(remote)
            self.allow(remote, part.size)
        except BaseException:
            response.close()
            raise
        if unused:
            return None
        _limit_silence(response)
        return response

    def _rest(self, link: "_Link", part: Part) -> Any:
        """A streamed response of what `part` lacks; if it changed, of all of it, `part` emptied."""
        import requests

        assert part.remote
        headers = dict(link.headers)
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if part.remote.validator:
                headers["If-Range"] = part.remote.validator
        response = requests.get(link.url, headers=headers, stream=True, timeout=_TIMEOUT_S)
        try:
            response.raise_for_status()
            now = Remote.of(self.dataset, response)
            if response.status_code != 206:
                part.restart(now)
            elif not _is_from(response, part.size) or now.size not in (None, part.remote.size):
                part.restart(part.remote)
                raise requests.ConnectionError("the server sent another range than was asked for")
        except BaseException:
            response.close()
            raise
        return response


@dataclass(frozen=True)
class _Link:
    """Where the server has redirected to, and the headers that it takes."""

    url: str
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, response: Any) -> "_Link":
        kept = {
            name: value
            for name, value in response.request.headers.items()
            if name.lower() not in ("content-length", "content-type")
        }
        return cls(response.url, {**kept, "Accept-Encoding": "identity"})


def _receive(response: Any, part: Part) -> None:
    """Appends a response's body; raises if it ends too early."""
    import requests

    assert part.remote
    # Not iter_content, which loses what came before the end of a broken connection.
    for data in response.raw.stream(_CHUNK_BYTES, decode_content=False):
        part.append(data)
        report_progress(part.size, part.remote.size, "bytes")
    if part.remote.size is not None and not part.complete:
        raise requests.ConnectionError(f"the server stopped after {part.size:,} bytes")
    part.settle()


def _limit_silence(response: Any) -> None:
    """Kaggle's client waits for ever for bytes that don't come."""
    sock = getattr(getattr(response.raw, "connection", None), "sock", None)
    if sock:
        sock.settimeout(_TIMEOUT_S[1])


def _is_from(response: Any, start: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _asked_wait(response: Any | None) -> float | None:
    """Seconds that a server asks to wait for (Retry-After: seconds, or a date)."""
    text = response.headers.get("Retry-After", "").strip() if response is not None else ""
    if text.isdigit():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
