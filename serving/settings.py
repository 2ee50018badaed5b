"""The embedded server's settings."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from schema.errors import CxrflowError
from schema.settings import Count, Positive, settings
from serving.images import ImageLimits

Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free one
Seconds = Annotated[float, Field(gt=0)]


@settings
class BatchingConfig:
    """How requests share a run of the model.

    A free thread takes what waits, up to `max_batch_size`; `timeout_ms` lets it wait for more. With
    0 a lone request is never held back, and batches form by themselves while all threads are busy.
    """

    max_batch_size: Positive = 16
    """Images in one run of the model; 1 switches batching off."""
    timeout_ms: Count = 0
    """Milliseconds that a free thread waits for more images; 0: none."""
    threads: Positive = 2
    """Runs of the model at the same time."""
    max_queue: Positive = 64
    """Requests that wait; more are refused as UNAVAILABLE, as in TensorFlow Serving."""


@settings
class ServerConfig:
    """Where the server listens, what it accepts and how it runs models."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    grpc_port: Port = 8500
    """gRPC port; 0: any free one."""
    rest_port: Port = 8501
    """REST port; 0: any free one."""
    max_message_bytes: Positive = 32 * 2**20
    """Largest request; above it RESOURCE_EXHAUSTED, over REST 413."""
    max_request_images: Positive = 64
    """Images in one request; above it INVALID_ARGUMENT."""
    images: ImageLimits = ImageLimits()
    """Which images are accepted; wider limits are of no use, as the graph has its own."""
    max_deadline: Seconds = 60.0
    """Seconds of requests without a deadline or with a longer one."""
    batching: BatchingConfig = BatchingConfig()
    """How requests share a run of the model."""
    poll_seconds: Seconds = 1.0
    """Seconds between two looks at the serving root."""
    drain_seconds: Seconds = 30.0
    """Seconds for requests under way when a version or the server stops."""
    intra_op_threads: Count = 0
    """TensorFlow's threads in one operation; 0: one a core."""
    inter_op_threads: Count = 0
    """TensorFlow's operations at the same time; 0: as it likes."""
    tls_certificate: str = ""
    """PEM file; with it and its key gRPC and REST are encrypted."""
    tls_key: str = ""
    """PEM file of the certificate's key."""
    tls_client_ca: str = ""
    """PEM file of the CA that must have signed clients' certificates."""

    @model_validator(mode="after")
    def _no_half_tls(self) -> "ServerConfig":
        if bool(self.tls_certificate) != bool(self.tls_key) or (
            self.tls_client_ca and not self.tls_certificate
        ):
            raise ValueError("TLS needs both a certificate and its key")
        return self


def read_config(path: Path | None, **changes: Any) -> ServerConfig:
    """A configuration from a YAML file of ServerConfig's fields, and changes to it.

    Raises:
        CxrflowError: the file can't be read, a field is unknown or out of its range.
    """
    values: Any = {}
    if path:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CxrflowError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise CxrflowError(f"{path} must hold fields, such as `grpc_port: 8500`")
    try:
        return TypeAdapter(ServerConfig).validate_python(values | changes)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        raise CxrflowError(": ".join(filter(None, ("serve", field, text)))) from None
