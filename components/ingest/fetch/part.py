"""A file that grows as it is fetched, and the sidecar that tells what of it is safe to go on from.

The sidecar is JSON beside the file: what was being fetched, how many of its bytes are on the disk
for sure, and their SHA-256. Going on trusts these bytes only after it has read them again: another
program may have written into the file since.
"""

import base64
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cxrflow.components.ingest.fetch.bounds import Damaged
from cxrflow.schema.files import write_whole
from cxrflow.schema.progress import report as report_progress

_SYNC_BYTES = 32 * 2**20  # what a power cut or kill -9 may cost
_READ_BYTES = 2**20
_MD5 = re.compile(r"(?:^|md5=)([A-Za-z0-9+/]{22}==)")


@dataclass(frozen=True)
class Remote:
    """What a server says of a file."""

    dataset: str
    url: str  # without its query, which may be a key
    size: int | None  # bytes; None: unknown
    etag: str = ""
    last_modified: str = ""
    md5: str = ""  # hexadecimal; empty: unknown

    @classmethod
    def of(cls, dataset: str, response: Any) -> "Remote":
        """From the headers of a `requests.Response` with all of the file, or its rest."""
        headers = response.headers
        _, _, total = headers.get("Content-Range", "").partition("/")
        size = total or headers.get("Content-Length", "")
        encoded = _MD5.search(headers.get("x-goog-hash") or headers.get("Content-MD5") or "")
        return cls(
            dataset,
            urlsplit(response.url)._replace(query="", fragment="").geturl(),
            int(size) if size.isdigit() else None,
            headers.get("ETag", ""),
            headers.get("Last-Modified", ""),
            base64.b64decode(encoded[1]).hex() if encoded else "",
        )

    @property
    def validator(self) -> str:
        """For If-Range, which takes no weak ETag; empty where nothing tells versions apart."""
        return self.last_modified if self.etag.startswith("W/") else self.etag or self.last_modified

    def is_same(self, other: "Remote") -> bool:
        """Whether both are proven to be one version of one file."""
        return bool(self.validator and self.size) and self._version == other._version

    @property
    def _version(self) -> tuple[Any, ...]:
        return self.dataset, self.size, self.etag, self.last_modified, self.md5


class Part:
    """The part of a remote file that is here. Not for several threads or processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.remote: Remote | None = None
        self.size = 0  # bytes
        self._sidecar = path.with_name(path.name + ".json")
        self._file = FileIO(path, "r+" if path.exists() else "w+")
        self._safe = 0
        self._start_hashes()

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what is safe already stays so
            self.settle()
        self._file.close()
        with suppress(OSError):
            if not self.path.stat().st_size and not self._sidecar.exists():
                self.path.unlink()  # nothing has come

    @property
    def complete(self) -> bool:
        """Whether all bytes are here."""
        return self.remote is not None and self.size == self.remote.size

    @property
    def promised(self) -> int:
        """Bytes that an earlier download says are here; `begin` judges them."""
        return self._earlier()[1] if self.remote is None else self.size

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes that came, in hexadecimal."""
        return self._hashes["sha256"].hexdigest()

    @property
    def md5(self) -> str:
        """MD5 of the bytes that came, in hexadecimal."""
        return self._hashes["md5"].hexdigest()

    def begin(self, remote: Remote) -> None:
        """Keeps what is here if it is proven to be the beginning of `remote`; else starts anew."""
        earlier, safe, digest = self._earlier()
        keep = safe if earlier and earlier.is_same(remote) else 0
        self.restart(remote, keep)
        if keep and not self._reread(safe, digest):  # something else has written into it
            self.restart(remote)

    def restart(self, remote: Remote, keep: int = 0) -> None:
        """Empties the file but for its first `keep` bytes, which are for `begin` to hash."""
        self.remote = remote
        self.size = self._safe = 0
        self._start_hashes()
        self._file.truncate(keep)
        self._file.seek(0)

    def append(self, data: bytes) -> None:
        """Adds bytes; from time to time they and the sidecar are synced.

        Raises:
            Damaged: more bytes than the file has.
            OSError: the disk is full, for example.
        """
        assert self.remote
        if self.remote.size is not None and self.size + len(data) > self.remote.size:
            raise Damaged("more bytes came than the server had promised")
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]
        self._hash(data)
        if self.size - self._safe >= _SYNC_BYTES:
            self.settle()

    def settle(self) -> None:
        """Makes what is here safe to go on from."""
        if not self.remote or self.size == self._safe:
            return
        os.fsync(self._file.fileno())
        told = {**asdict(self.remote), "durable": self.size, "sha256": self.sha256}
        write_whole(self._sidecar, json.dumps(told, indent=1), sync=True)
        self._safe = self.size

    def discard(self) -> None:
        """Removes file and sidecar."""
        self._safe = self.size  # nothing to settle
        for path in (self._sidecar, self.path):
            path.unlink(missing_ok=True)

    def _earlier(self) -> tuple[Remote | None, int, str]:
        """What the sidecar says: of what file, how many bytes, their SHA-256."""
        try:
            told = json.loads(self._sidecar.read_text(encoding="utf-8"))
            safe, digest = int(told.pop("durable")), str(told.pop("sha256"))
            remote = Remote(**told)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None, 0, ""
        return (remote, safe, digest) if 0 < safe <= self.path.stat().st_size else (None, 0, "")

    def _reread(self, safe: int, digest: str) -> bool:
        """Hashes the first `safe` bytes, and tells whether they are those of before."""
        while self.size < safe:
            data = self._file.read(min(_READ_BYTES, safe - self.size))
            if not data:
                return False
            self._hash(data)
            report_progress(self.size, safe, "bytes")
        self._safe = safe
        return self.sha256 == digest

    def _start_hashes(self) -> None:
        self._hashes = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}

    def _hash(self, data: bytes) -> None:
        for one in self._hashes.values():
            one.update(data)
        self.size += len(data)
