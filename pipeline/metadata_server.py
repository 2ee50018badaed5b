"""ML Metadata on a MySQL or MariaDB server, for runs on several machines."""

import logging
import os
import re
import socket
import uuid
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cxrflow.pipeline.metadata_tls import TlsConfig, require_tls
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole
from cxrflow.schema.settings import settings

_ID = "metadata.id"  # in the root: what tells its pipeline from others on the same server
_SECONDS = 10  # to wait for the server's greeting
_GREETING, _REFUSAL = 10, 255  # first byte of what a MySQL server says: protocol 10, or an error
_PASSWORD = re.compile(r'password: "(?:\\.|[^"\\])*"')
_POSTGRES = (
    "can't be PostgreSQL: ML Metadata 1.21 breaks every text with a backslash there, such as the "
    "Evaluator's settings; take mysql (MySQL or MariaDB)"
)


@settings
class MetadataConfig:
    """Where ML Metadata keeps what ran: a file in the root, or a server for several machines."""

    kind: Literal["sqlite", "mysql", "mariadb"] = "sqlite"
    """mysql and mariadb are the same; MySQL 8 needs a user with mysql_native_password."""
    host: str = ""
    """Host of the server; the password is taken from the environment."""
    port: Annotated[int, Field(ge=1, le=65535)] = 3306
    """Port of the server."""
    database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = "cxrflow"
    """Made if it is missing; pipelines of several roots may share it."""
    user: str = "cxrflow"
    """Who may make and change tables there."""
    password_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = (
        "CXRFLOW_METADATA_PASSWORD"
    )
    """Environment variable that holds the password."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    """Encryption of the connection."""

    @field_validator("kind", mode="before")
    @classmethod
    def _no_postgres(cls, kind: object) -> object:
        if str(kind).lower() in ("postgres", "postgresql", "pg"):
            raise ValueError(_POSTGRES)
        return kind

    @model_validator(mode="after")
    def _has_host(self) -> "MetadataConfig":
        if self.is_server and not self.host:
            raise ValueError(f"metadata.kind is {self.kind}: name the server in metadata.host")
        return self

    @property
    def is_server(self) -> bool:
        """Not a file."""
        return self.kind != "sqlite"

    @property
    def address(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port}"

    def password(self) -> str:
        """From the environment. Raises CxrflowError where it isn't there."""
        try:
            return os.environ[self.password_variable]
        except KeyError:
            raise CxrflowError(
                f"the metadata server {self.address} needs the password of {self.user}: set the "
                f"environment variable {self.password_variable}"
            ) from None


def require(config: MetadataConfig) -> None:
    """Asks the server for its greeting, before TFX is loaded; ML Metadata's own errors are empty.

    Raises:
        CxrflowError: there is no password, nobody answers, or somebody who is no such server, or
            TLS was asked for and can't be had.
    """
    if not config.is_server:
        return
    config.password()
    for name, path in config.tls.files:
        if not os.access(path, os.R_OK):
            raise CxrflowError(f"metadata.tls.{name}: {path} can't be read")
    try:
        with socket.create_connection((config.host, config.port), timeout=_SECONDS) as connection:
            said = connection.recv(1024)[4:]  # behind the packet's length and number
            _require_greeting(said, config)
            if config.tls.is_on:
                require_tls(connection, said, config.tls, config.host, config.address)
    except OSError as error:
        raise CxrflowError(
            f"the metadata server {config.address} can't be reached ({error.strerror or error}): "
            "start it, or correct metadata.host and metadata.port"
        ) from None


def _require_greeting(said: bytes, config: MetadataConfig) -> None:
    if said[:1] == bytes([_REFUSAL]):
        reason = said[3:].decode(errors="replace")
        raise CxrflowError(f"the metadata server {config.address} refuses: {reason}")
    if said[:1] != bytes([_GREETING]):
        raise CxrflowError(f"{config.address} is no MySQL or MariaDB server: correct metadata.port")


def refused(config: MetadataConfig) -> CxrflowError:
    """What to say when a server that answered doesn't let ML Metadata in."""
    return CxrflowError(
        f"the metadata server {config.address} refuses user {config.user} or database "
        f"{config.database}: check the password in {config.password_variable}, the user's "
        "rights (MySQL 8: mysql_native_password) and whether it wants TLS (metadata.tls)"
    )


def connection_config(config: MetadataConfig, root: Path, password: str = "") -> Any:
    """ML Metadata's own message on how to connect.

    Args:
        config: where it is.
        root: the run's folder, which holds the file of SQLite.
        password: of the server.
    """
    from ml_metadata.proto import metadata_store_pb2 as proto

    found = proto.ConnectionConfig()
    if not config.is_server:
        found.sqlite.filename_uri = f"{root}/metadata.sqlite"
        found.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return found
    found.mysql.host, found.mysql.port = config.host, config.port
    found.mysql.database, found.mysql.user = config.database, config.user
    found.mysql.password = password
    if config.tls.is_on:
        # Its wheel refuses every certificate where it is to verify one: `require` does it.
        for name in ("ca", "capath", "cert", "key", "cipher"):
            if value := getattr(config.tls, name):
                setattr(found.mysql.ssl_options, name, value)
    return found


def pipeline_name(name: str, config: MetadataConfig, root_id: str) -> str:
    """The name in ML Metadata: on a server, others may run a pipeline of the same name."""
    return f"{name}-{root_id}" if config.is_server else name


def root_id(config: MetadataConfig, root: Path) -> str:
    """What tells this root from others on a server, kept in a file; empty without a server."""
    if not config.is_server:
        return ""
    file = root / _ID
    if not file.is_file():
        write_whole(file, uuid.uuid4().hex[:12], sync=True)
    return file.read_text(encoding="utf-8").strip()


class Hidden(logging.Filter):
    """Keeps passwords out of a log: TFX's runners log the whole connection, as protobuf's text."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "password" in text:
            record.msg, record.args = _PASSWORD.sub('password: "***"', text), ()
        return True
