"""The embedded server's settings."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.settings import Count, Positive, settings
from cxrflow.schema.store.versions import STABLE
from cxrflow.schema.yaml_file import read_yaml

T = TypeVar("T")
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
class GatewayConfig:
    """What one address may ask of the nginx that `serve --print-config` writes; above it 503."""

    client_requests: Positive = 256
    """Requests under way."""
    client_rate: Positive = 500
    """Requests a second."""


@settings
class ShadowConfig:
    """A second version that is asked the same as the first, in the background."""

    label: str = ""
    """Its label, such as canary; empty: there is none."""
    log: str = "shadow.jsonl"
    """File with a JSON line for both answers to an image; put aside as the server's own log is."""
    point: Literal["youden", "sensitivity", "specificity"] = "youden"
    """Operating point of model.json by which decisions are compared."""
    max_queue: Positive = 32
    """Requests that wait for the second version; more are dropped, and counted."""
    max_bytes: Positive = 64 * 2**20
    """Bytes of their images."""
    seconds: Seconds = 300.0
    """Seconds for an answer, loading the version included; then its process is started anew."""
    niceness: Annotated[int, Field(ge=0, le=19)] = 19
    """Niceness of its process; 19: idle class, it gets what the server leaves of the processors."""

    @model_validator(mode="after")
    def _is_second(self) -> "ShadowConfig":
        if self.label == STABLE:
            raise ValueError(f"label {STABLE} is the version that answers: name another one")
        return self


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
    """Largest request over gRPC, in bytes; above it RESOURCE_EXHAUSTED."""
    max_messages_bytes: Positive = 256 * 2**20
    """Bytes of all gRPC requests under way; above it UNAVAILABLE."""
    connection_messages: Positive = 8
    """Requests that one gRPC connection may send at once; others wait at the client."""
    max_rest_bytes: Positive = 36 * 2**20
    """Largest body over REST, in bytes, inflated; above it 413."""
    max_bodies_bytes: Positive = 128 * 2**20
    """Bytes of all REST bodies together; above it others wait, and what stalls is dropped."""
    max_json_values: Positive = 1_500_000
    """Values in a REST body, such as the numbers of an image; above it 413."""
    max_json_lists: Positive = 500_000
    """Lists in a REST body, such as the pixels of an image; above it 413."""
    max_json_names: Positive = 20_000
    """Objects, names and texts in a REST body; above it 413."""
    max_request_images: Positive = 16
    """Images in one request, each of which costs a run of the network however small it is; above it
    INVALID_ARGUMENT."""
    max_input_bytes: Positive = 256 * 2**20
    """Bytes of one input's array, whose shape may ask for more than its message holds, as a single
    value is repeated; above it INVALID_ARGUMENT."""
    max_decoded_bytes: Positive = 200 * 2**20
    """Bytes that decoding a request's images may take: 2 a pixel of a gray PNG, 8 of a JPEG or one
    of 16 bits, 24 of a colour PNG; above it INVALID_ARGUMENT."""
    max_connections: Positive = 1000
    """REST connections; above it those go that wait longest for a request's head."""
    head_seconds: Seconds = 10.0
    """Seconds that a REST connection may take for a request's head."""
    refusal_pause: Seconds = 0.2
    """Seconds before a full server refuses a request, so that clients don't ask again at once."""
    images: ImageLimits = ImageLimits()
    """Which images are accepted; wider limits are of no use, as the graph has its own."""
    max_deadline: Seconds = 60.0
    """Seconds of requests without a deadline or with a longer one."""
    batching: BatchingConfig = BatchingConfig()
    """How requests share a run of the model."""
    recent_images: Positive = 1000
    """Images of each version over which metrics give mean scores and the share of those that may be
    no chest X-ray."""
    shadow: ShadowConfig = ShadowConfig()
    """A second version that is asked in the background."""
    gateway: GatewayConfig = GatewayConfig()
    """Limits of nginx in front of the server, if there is one."""
    load_seconds: Seconds = 300.0
    """Seconds for loading and warming up a version; then it is rejected."""
    odd_versions: Literal["refuse", "warn"] = "refuse"
    """What becomes of a version without serving_default or warm-up, or with other classes."""
    poll_seconds: Seconds = 1.0
    """Seconds between two looks at the serving root."""
    drain_seconds: Seconds = 8.0
    """Seconds for requests under way when a version or the server stops."""
    notice_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Seconds of these in which a stopping server still accepts connections, to say that it stops;
    on Kubernetes and behind load balancers as long as they take to send nobody here any more."""
    allow_reload: bool = False
    """Whether ModelService.HandleReloadConfigRequest may name other models to serve."""
    reload_token_file: str = ""
    """File with the token that such a request must send as `authorization: Bearer TOKEN`; without
    it, its client must show a certificate."""
    access_log: bool = False
    """Whether each request gets a line in the log; health probes and scrapes get none."""
    log_max_bytes: Count = 50 * 2**20
    """Bytes of the log file; then it is put aside as .1, .2 and so on; 0: it only grows."""
    log_backups: Count = 5
    """How many such files are kept."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may ask over REST; "*": any."""
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
        if self.allow_reload and not (self.reload_token_file or self.tls_client_ca):
            raise ValueError(
                "allow_reload needs reload_token_file or tls_client_ca: else anybody could reload"
            )
        return self


def read_config(path: Path | None, **changes: Any) -> ServerConfig:
    """A configuration from a YAML file of ServerConfig's fields, and changes to it.

    Raises:
        CxrflowError: the file can't be read, a field is unknown, there twice or out of its range.
    """
    values = read_yaml(path, "fields, such as `grpc_port: 8500`") if path else {}
    return checked(ServerConfig, values | changes, "serve")


def checked(of: type[T], values: dict[str, Any], command: str) -> T:
    """The values as settings of a class.

    Raises:
        CxrflowError: a field is unknown or out of its range; the text begins with the command.
    """
    try:
        return TypeAdapter(of).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        raise CxrflowError(": ".join(filter(None, (command, field, text)))) from None
