"""Why a server didn't answer: what listens there instead, and which models there are."""

import contextlib
import json
import socket
import ssl

import grpc

from cxrflow.schema.errors import did_you_mean
from cxrflow.serving.addresses import split
from cxrflow.serving.client.protos import get_model_status_pb2, model_service_pb2_grpc
from cxrflow.serving.client.settings import ClientConfig

MODELS_KEY = "cxrflow-models"  # trailing metadata of our own server
_HTTP = b"GET / HTTP/1.0\r\n\r\n"
_REST = "answers HTTP, not gRPC: that's the REST port; --server takes the gRPC port (usually 8500)"
_WANTS_TLS = "wants an encrypted connection: give the CA of its certificate with --tls-ca"
_NO_TLS = "doesn't encrypt: leave the options --tls-ca, --tls-cert and --tls-key out"


def what_answers(config: ClientConfig) -> str:
    """What is wrong with an address that takes connections and speaks no gRPC with us.

    Returns:
        A clause about the server; empty if it can't be told.
    """
    encrypted = bool(config.tls_ca or config.tls_certificate)
    with contextlib.suppress(OSError):
        with _connection(config) as plain:
            plain.sendall(_HTTP)
            start = plain.recv(9)
        if start.startswith(b"HTTP/"):
            return _REST
        if start[3:4] == b"\x04" and len(start) == 9:  # HTTP/2's SETTINGS frame, RFC 9113
            return _NO_TLS if encrypted else ""
    with contextlib.suppress(OSError):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        with _connection(config) as plain, context.wrap_socket(plain) as tls:
            if tls.selected_alpn_protocol() != "h2":
                return _REST
            return "" if encrypted else _WANTS_TLS
    return ""


def missing_model(channel: grpc.Channel, config: ClientConfig, error: grpc.RpcError) -> str:
    """Which model or version there is instead of the one that was asked for."""
    models = _models(error)
    if models and config.model not in models:
        hint = did_you_mean(config.model, models)
        return f"there is no model {config.model}, only {', '.join(models)}{hint}"
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = config.model
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    try:
        states = stub.GetModelStatus(request, timeout=config.deadline).model_version_status
    except grpc.RpcError:
        return f"there is no model {config.model}: name another with --model"
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    versions = ", ".join(str(one.version) for one in states if one.state == available)
    asked = "version that is served" if config.version is None else f"version {config.version}"
    return f"the model {config.model} has no {asked}, only {versions or 'others that failed'}"


def _models(error: grpc.RpcError) -> list[str]:
    """The names of the models, if the server told."""
    trailers = dict(error.trailing_metadata() or ()) if isinstance(error, grpc.Call) else {}
    with contextlib.suppress(ValueError, TypeError):
        return [str(name) for name in json.loads(trailers.get(MODELS_KEY, "[]"))]
    return []


def _connection(config: ClientConfig) -> socket.socket:
    return socket.create_connection(split(config.server), config.connect)
