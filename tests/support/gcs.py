"""Starts `gcs_server` and looks into its bucket."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

BUCKET, FORBIDDEN = "cxr-artifacts", "somebody-elses"
_HOSTS = ("www.googleapis.com", "storage.googleapis.com")


@dataclass(frozen=True)
class Bucket:
    """BUCKET of a server that runs."""

    port: int

    def names(self) -> list[str]:
        """Objects, without the markers of folders."""
        found = json.loads(self._get(f"storage/v1/b/{BUCKET}/o"))
        return sorted(o["name"] for o in found.get("items", []) if not o["name"].endswith("/"))

    def content(self, name: str) -> bytes:
        """Content of an object."""
        return self._get(f"{BUCKET}/{name}")

    def wipe(self) -> None:
        """Removes all objects."""
        self._get("wipe?keep-buckets=true")

    def _get(self, path: str) -> bytes:
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/{path}", timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """Serves BUCKET, and FORBIDDEN to nobody, keeping a certificate in the folder.

    The environment of this process, and so of those that it starts, is pointed there meanwhile.
    """
    authority, key = _certificate(folder)
    script = Path(__file__).with_name("gcs_server.py")
    command = [sys.executable, script, authority, key]
    with (
        (folder / "google.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            assert server.stdout
            port = int(server.stdout.readline())
            for name in ("HTTPS_PROXY", "https_proxy"):
                patch.setenv(name, f"http://127.0.0.1:{port}")
            for name in ("NO_PROXY", "no_proxy"):
                patch.delenv(name, raising=False)
            patch.setenv("CURL_CA_BUNDLE", str(authority))
            patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "a-token")
            patch.setenv("NO_GCE_CHECK", "true")
            yield Bucket(port)
        finally:
            server.kill()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Makes a certificate of Google's hosts, signed by itself: (certificate, key) as PEM files."""
    certificate, key = folder / "google.pem", folder / "google.key"
    names = ",".join(f"DNS:{host}" for host in _HOSTS)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-out", str(certificate), "-keyout", str(key), "-subj", "/CN=Google for tests"]
    command += ["-addext", f"subjectAltName={names}"]
    if not shutil.which("openssl") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("openssl can't make a certificate")
    return certificate, key
