"""The embedded server's certificate, for gRPC and for REST; imports no TensorFlow.

A renewed certificate is taken up while the server runs: new connections see it, those there go on
with the one before. The CA of clients' certificates is read once.
"""

import logging
import ssl
import threading
from pathlib import Path
from typing import Protocol

import grpc

from cxrflow.schema.errors import CxrflowError, unreadable
from cxrflow.serving.settings import ServerConfig

logger = logging.getLogger(__name__)


class Certificate:
    """The certificate and its key, read again when their files change."""

    def __init__(self, config: ServerConfig):
        """`config` names a certificate. Raises CxrflowError for files that can't be used."""
        self._config = config
        self._ca = _read(config.tls_client_ca) if config.tls_client_ca else None
        self._lock = threading.Lock()
        self._seen = self._stamp()
        context = server_context(config)
        assert context, "there is a certificate"
        self.context = context
        self._pair = self._pair_there()
        self._given: tuple[bytes, bytes] | None = self._pair  # that gRPC has

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which asks for a newer one at each connection."""
        return grpc.dynamic_ssl_server_credentials(
            self._for_grpc(self._pair), self._newer, require_client_authentication=bool(self._ca)
        )

    def refresh(self) -> None:
        """Takes up the files if they changed; what can't be used is said and left alone."""
        with self._lock:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            try:
                server_context(self._config)  # the key fits, which is no matter of course half-way
                self.context.load_cert_chain(*self._paths(), password="")
                self._pair = self._pair_there()
            except (CxrflowError, OSError, ssl.SSLError) as error:
                logger.error("%s; the one before stays", error)
                return
        logger.info("the certificate %s is renewed", self._config.tls_certificate)

    def _newer(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            if self._given == self._pair:
                return None
            self._given = self._pair
            return self._for_grpc(self._pair)

    def _for_grpc(self, pair: tuple[bytes, bytes]) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([pair], self._ca)

    def _paths(self) -> tuple[str, str]:
        return self._config.tls_certificate, self._config.tls_key

    def _pair_there(self) -> tuple[bytes, bytes]:
        certificate, key = self._paths()
        return _read(key), _read(certificate)

    def _stamp(self) -> list[tuple[int, int, int]]:
        """Changes when the files do, or a link to them."""
        found = []
        for path in self._paths():
            try:
                stat = Path(path).stat()
                found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
            except OSError:
                found.append((0, 0, 0))
        return found


class Encrypted(Protocol):
    """Settings that name PEM files; empty: none."""

    @property
    def tls_certificate(self) -> str:
        """The service's certificate."""

    @property
    def tls_key(self) -> str:
        """The key of its certificate."""

    @property
    def tls_client_ca(self) -> str:
        """That signed its clients' certificates."""


def server_context(config: Encrypted) -> ssl.SSLContext | None:
    """For Python's own sockets; None without encryption.

    Raises:
        CxrflowError: a file can't be used.
    """
    if not config.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # An empty password, else OpenSSL would ask for one on the terminal.
        context.load_cert_chain(config.tls_certificate, config.tls_key, password="")
        if config.tls_client_ca:
            context.load_verify_locations(config.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise CxrflowError(f"The TLS certificate, key or CA can't be used: {error}") from None
    return context


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path or "the TLS key", error) from None
