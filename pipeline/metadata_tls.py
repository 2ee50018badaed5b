"""An encrypted connection to ML Metadata's server: settings, and a handshake that gives reasons."""

import socket
import ssl
import struct
from collections.abc import Iterator

from pydantic import model_validator

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.settings import settings

_CLIENT_SSL = 0x0800  # of MySQL's capability flags
_CAPABILITIES = _CLIENT_SSL | 0x0200 | 0x8000  # in the protocol 4.1, with its passwords
_UTF8 = 45  # MySQL's number of utf8mb4


@settings
class TlsConfig:
    """Encryption of the connection to the metadata server; on where ca, capath or cert is set.

    Files lie at the same paths on every machine that runs nodes.
    """

    ca: str = ""
    """PEM file with the authorities that may have signed the server's certificate."""
    capath: str = ""
    """Folder of such files, as `openssl rehash` makes it."""
    cert: str = ""
    """PEM file with this client's own certificate, where the server asks for one."""
    key: str = ""
    """PEM file with its key."""
    cipher: str = ""
    """Ciphers that may be used, in OpenSSL's words; empty: its default."""
    verify_server_cert: bool = True
    """Whether a command ends where the server's certificate isn't an authority's, for its host."""

    @model_validator(mode="after")
    def _is_whole(self) -> "TlsConfig":
        if bool(self.cert) != bool(self.key):
            raise ValueError("metadata.tls has one of cert and key: name both or none")
        if self.cert and self.verify_server_cert and not (self.ca or self.capath):
            raise ValueError(
                "metadata.tls.verify_server_cert needs metadata.tls.ca or metadata.tls.capath"
            )
        return self

    @property
    def is_on(self) -> bool:
        """Whether the connection is encrypted."""
        return bool(self.ca or self.capath or self.cert)

    @property
    def files(self) -> Iterator[tuple[str, str]]:
        """Settings that name a file or a folder, with what they name."""
        for name in ("ca", "capath", "cert", "key"):
            if path := getattr(self, name):
                yield name, path


def require_tls(
    connection: socket.socket, greeting: bytes, config: TlsConfig, host: str, address: str
) -> None:
    """Encrypts a connection that a MySQL server has just greeted; ML Metadata's errors are empty.

    Args:
        connection: is left as the handshake leaves it.
        greeting: the server's first packet, without its header.
        config: is on.
        host: whose name the certificate has to have.
        address: for messages.

    Raises:
        CxrflowError: the server has no TLS, or the handshake fails; says why.
    """
    # Protocol, version, a zero, thread (4 bytes), random (8), a zero, capabilities.
    flags = greeting[greeting.find(b"\0", 1) + 14 :][:2]
    if len(flags) < 2 or not struct.unpack("<H", flags)[0] & _CLIENT_SSL:
        raise CxrflowError(
            f"the metadata server {address} has no TLS: give it a certificate, or take "
            "metadata.tls out"
        )
    request = struct.pack("<IIB23x", _CAPABILITIES, 1 << 24, _UTF8)
    connection.sendall(struct.pack("<I", len(request) | 1 << 24) + request)
    try:
        context = _context(config)
        # By itself it does so only with a server that hasn't hung up yet.
        with context.wrap_socket(
            connection, server_hostname=host, do_handshake_on_connect=False
        ) as encrypted:
            encrypted.do_handshake()
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "verify_message", "") or error.strerror or error
        raise CxrflowError(
            f"the metadata server {address} and metadata.tls don't fit: {reason}"
        ) from None


def _context(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not config.verify_server_cert:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if config.ca or config.capath:
        context.load_verify_locations(config.ca or None, config.capath or None)
    if config.cert:
        context.load_cert_chain(config.cert, config.key)
    if config.cipher:
        context.set_ciphers(config.cipher)
    return context
