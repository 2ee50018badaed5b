"""The client's gRPC channel."""

import json
import ssl
from pathlib import Path

import grpc

from cxrflow.schema.errors import CxrflowError, unreadable
from cxrflow.serving.addresses import join, split
from cxrflow.serving.client.settings import ClientConfig


def connect(config: ClientConfig) -> grpc.Channel:
    """A channel with retries, and TLS where the settings have files for it.

    Raises:
        CxrflowError: a file can't be read or isn't PEM, or a certificate lacks its key.
    """
    target = join(*split(config.server))
    retry = config.retry
    policy = {
        "maxAttempts": retry.attempts,
        "initialBackoff": f"{retry.pause}s",
        "maxBackoff": f"{retry.max_pause}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    methods = [
        {"name": [{"service": "tensorflow.serving.PredictionService"}], "retryPolicy": policy}
    ]
    options = [
        ("grpc.service_config", json.dumps({"methodConfig": methods})),
        # A larger request wouldn't be sent again; its image is wrapped in a few hundred bytes.
        ("grpc.per_rpc_retry_buffer_size", config.images.max_bytes + 2**16),
        ("grpc.initial_reconnect_backoff_ms", int(1000 * retry.pause)),
        ("grpc.max_reconnect_backoff_ms", int(1000 * retry.max_pause)),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_http_proxy", 0),  # X-rays go to the server, and nowhere else
    ]
    if bool(config.tls_certificate) != bool(config.tls_key):
        raise CxrflowError("A certificate and its key go together: give both, or neither")
    if not (config.tls_ca or config.tls_certificate):
        return grpc.insecure_channel(target, options)
    files = (config.tls_ca, config.tls_key, config.tls_certificate)
    texts = [_read(path) if path else None for path in files]
    _require_pem(config)  # gRPC would only say that the server is unavailable
    credentials = grpc.ssl_channel_credentials(*texts)
    return grpc.secure_channel(target, credentials, options)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def _require_pem(config: ClientConfig) -> None:
    context = ssl.create_default_context()
    try:
        if config.tls_ca:
            context.load_verify_locations(config.tls_ca)
    except ssl.SSLError:
        raise CxrflowError(f"{config.tls_ca} holds no certificate in PEM format") from None
    try:
        if config.tls_certificate:
            context.load_cert_chain(config.tls_certificate, config.tls_key, password="")
    except ssl.SSLError:
        raise CxrflowError(
            f"{config.tls_certificate} and {config.tls_key} are no certificate and its key, "
            "in PEM format and without a password"
        ) from None
