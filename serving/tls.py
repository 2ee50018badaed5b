"""The embedded server's certificate, for gRPC and for REST; imports no TensorFlow."""

import ssl
from pathlib import Path

import grpc

from schema.errors import CxrflowError
from serving.settings import ServerConfig


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials:
    """For gRPC. Raises CxrflowError for a file that can't be read."""
    key, certificate = (_read(path) for path in (config.tls_key, config.tls_certificate))
    ca = _read(config.tls_client_ca) if config.tls_client_ca else None
    return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=bool(ca))


def server_context(config: ServerConfig) -> ssl.SSLContext | None:
    """For REST; None without encryption. Raises CxrflowError for files that can't be used."""
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
        raise CxrflowError(f"{path or 'the TLS key'} can't be read: {error.strerror}") from None
