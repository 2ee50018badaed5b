"""TF Serving's REST API, and the metrics page.

Formats and paths: https://www.tensorflow.org/tfx/serving/api_rest.
"""

import base64
import binascii
import json
import logging
import re
import ssl
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from serving.addresses import family
from serving.core import Call, Core
from serving.metrics import Metrics
from serving.servable import DEFAULT_SIGNATURE
from serving.status import StatusError, invalid
from serving.tensors import to_proto

logger = logging.getLogger(__name__)

METRICS_PATH = "/monitoring/prometheus/metrics"
_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?:(?P<metadata>/metadata)|:(?P<method>\w+))?"
)
_APIS = {None: "GetModelStatus", "/metadata": "GetModelMetadata", "predict": "Predict"}
_MAX_CONNECTIONS = 256
_SOCKET_SECONDS = 30  # a client that sends nothing for so long is dropped
_BASE64_GROWTH = 1.5  # base64 and JSON around a message of the size that gRPC takes
_DRAINED = 4  # bodies of the largest size that are read of one that is too large
_CHUNK = 1 << 16
_BYTES_SUFFIX = "_bytes"  # outputs so named are base64


class RestServer(ThreadingHTTPServer):
    """Serves in threads of its own; bound when constructed, `port` tells where."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        core: Core,
        metrics: Metrics,
        max_message_bytes: int,
        max_deadline: float,
        max_requests: int,
        tls: ssl.SSLContext | None = None,
    ):
        """`max_requests` at the same time; more are answered 503. Raises OSError for the port."""
        self.core, self.metrics = core, metrics
        self.max_body = int(max_message_bytes * _BASE64_GROWTH)
        self.max_deadline = max_deadline
        self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self.slots = threading.BoundedSemaphore(max_requests)
        self.address_family = family(address[0])
        super().__init__(address, _Handler)
        if tls:
            # The handshake is made by the connection's thread, at its first read.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether another connection may have a thread; if not, it is closed."""
        return self._connections.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Runs in the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke; the answer's own errors are handled where they arise."""
        logger.debug("connection of %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "cxrflow", ""
    timeout = _SOCKET_SECONDS
    disable_nagle_algorithm = True
    server: RestServer

    def do_GET(self) -> None:
        """Status, metadata, metrics."""
        if urlsplit(self.path).path == METRICS_PATH:
            self._send(HTTPStatus.OK, self.server.metrics.page(), "text/plain; version=0.0.4")
        else:
            self._answer()

    def do_POST(self) -> None:
        """Predict."""
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """http.server would write a line per request."""

    def _answer(self) -> None:
        started = time.perf_counter()
        model, code = "", grpc.StatusCode.OK
        api = "unknown"
        if not self.server.slots.acquire(blocking=False):
            self.close_connection = True
            self._send_error(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once")
            return
        try:
            body = self._body()
            path = _PATH.fullmatch(unquote(urlsplit(self.path).path))
            if not path:
                raise invalid(f"Malformed request: {self.command} {self.path}")
            model = path["model"]
            api = _APIS.get(path["metadata"] or path["method"], api)
            self._send(HTTPStatus.OK, self._dispatch(path, body))
        except StatusError as error:
            code = error.code
            self._send_error(error.http, str(error))
        except OSError:
            code = grpc.StatusCode.CANCELLED
            self.close_connection = True
        except Exception:
            code = grpc.StatusCode.INTERNAL
            logger.exception("%s %s failed", self.command, self.path)
            self._send_error(
                HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's log has the reason"
            )
        finally:
            self.server.slots.release()
            seconds = time.perf_counter() - started
            self.server.metrics.count(model, code.name, api, "REST", seconds)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0" if self.command == "GET" else "")
        if not length.isdecimal():
            self.close_connection = True
            raise StatusError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Content-Length is needed",
                HTTPStatus.LENGTH_REQUIRED,
            )
        size, most = int(length), self.server.max_body
        if size > most:
            self.close_connection = True
            # Many clients read the answer only after they have sent everything.
            for _ in range(min(size, _DRAINED * most) // _CHUNK + 1):
                if not self.rfile.read(min(_CHUNK, size)):
                    break
                size = max(0, size - _CHUNK)
            raise StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{length} bytes; at most {most} are accepted",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionResetError
        return body

    def _dispatch(self, path: re.Match[str], body: bytes) -> bytes:
        core = self.server.core
        if self.command == "POST":
            if path["metadata"] or path["method"] not in ("predict", "classify", "regress"):
                raise invalid(f"Malformed request: {self.command} {self.path}")
            if path["method"] != "predict":
                raise StatusError(
                    grpc.StatusCode.UNIMPLEMENTED, f"{path['method']} is answered over gRPC only"
                )
            deadline = time.monotonic() + self.server.max_deadline
            return _predict(core, path, body, Call(deadline))
        if path["method"]:
            raise invalid(f"Malformed request: {self.command} {self.path}")
        if path["metadata"]:
            metadata = get_model_metadata_pb2.GetModelMetadataRequest(
                metadata_field=["signature_def"]
            )
            _fill_spec(metadata, path)
            return _to_json(core.metadata(metadata))
        status = get_model_status_pb2.GetModelStatusRequest()
        _fill_spec(status, path)
        return _to_json(core.status(status))

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_error(self, status: int, text: str) -> None:
        try:
            self._send(status, json.dumps({"error": text}).encode())
        except OSError:
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, in the same form."""
        self.close_connection = True
        self._send_error(code, message or HTTPStatus(code).phrase)


def _fill_spec(request: Message, path: re.Match[str]) -> None:
    request.model_spec.name = path["model"]
    if path["version"]:
        request.model_spec.version.value = int(path["version"])
    elif path["label"]:
        request.model_spec.version_label = path["label"]


def _to_json(message: Message) -> bytes:
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    ).encode()


def _predict(core: Core, path: re.Match[str], body: bytes, call: Call) -> bytes:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {str(error)[:200]}") from None
    if not isinstance(asked, dict):
        raise invalid("JSON Value is no object")
    name = asked.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    if ("instances" in asked) == ("inputs" in asked):
        raise invalid("Request must have either 'instances' or 'inputs', and not both")
    request = predict_pb2.PredictRequest()
    _fill_spec(request, path)
    request.model_spec.signature_name = name
    with core.manager.lease(request.model_spec) as version:
        assert version.servable
        definition = version.servable.signatures.get(name)
        if definition is None:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        # The same version answers, even if another becomes the default meanwhile.
        request.model_spec.version.value = version.number
        by_row = "instances" in asked
        columns = (
            _columns(asked["instances"], definition)
            if by_row
            else _named(asked["inputs"], definition, "inputs")
        )
        for key, value in columns.items():
            request.inputs[key].CopyFrom(to_proto(_to_array(key, value, definition.inputs[key])))
        response = core.predict(request, call)
    outputs = {
        key: _to_list(key, tf.make_ndarray(proto)) for key, proto in response.outputs.items()
    }
    if by_row:
        return json.dumps({"predictions": _rows(outputs)}).encode()
    alone = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return json.dumps({"outputs": alone}).encode()


def _columns(instances: Any, definition: meta_graph_pb2.SignatureDef) -> dict[str, list[Any]]:
    """The row format: a list with one value, or one object of named values, an example."""
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a list with at least one value")
    rows = [_named(row, definition, "instances") for row in instances]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise invalid("'instances' must all have the same inputs")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _named(value: Any, definition: meta_graph_pb2.SignatureDef, where: str) -> dict[str, Any]:
    """Values by the name of their input; the name may be left out where there is one input."""
    if isinstance(value, dict) and "b64" not in value:
        if unknown := value.keys() - set(definition.inputs):
            raise invalid(f"JSON object: does not have named input: {sorted(unknown)[0]}")
        return value
    if len(definition.inputs) != 1:
        raise invalid(f"'{where}' must name the inputs: {', '.join(sorted(definition.inputs))}")
    return {next(iter(definition.inputs)): value}


def _to_array(name: str, value: Any, info: meta_graph_pb2.TensorInfo) -> np.ndarray:
    dtype = tf.as_dtype(info.dtype)
    try:
        if dtype == tf.string:
            return _object_array(_strings(value))
        array = np.asarray(value)
        if array.dtype.kind not in ("b" if dtype == tf.bool else "iuf"):
            raise ValueError
        return array.astype(dtype.as_numpy_dtype)
    except (ValueError, TypeError, RecursionError, OverflowError, binascii.Error):
        raise invalid(f"JSON values of {name} are not of expected type: {dtype.name}") from None


def _strings(value: Any) -> Any:
    """Text and {"b64": ...} as bytes, in lists as they came."""
    if isinstance(value, list):
        return [_strings(one) for one in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    raise ValueError


def _object_array(value: Any) -> np.ndarray:
    """Nested lists of bytes as an object array; NumPy's own strings lose trailing zeros."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    array = np.empty(shape, object)
    flat = [value]
    for _ in shape:
        flat = [one for many in flat for one in many]
    if len(flat) != array.size or not all(isinstance(one, bytes) for one in flat):
        raise ValueError
    array.ravel()[:] = flat
    return array


def _to_list(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    encoded = [
        {"b64": base64.b64encode(one).decode()}
        if name.endswith(_BYTES_SUFFIX)
        else one.decode(errors="replace")
        for one in array.ravel()
    ]
    return _object_list(encoded, array.shape)


def _object_list(values: list[Any], shape: tuple[int, ...]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape).tolist()


def _rows(outputs: dict[str, Any]) -> list[Any]:
    """An entry an example: the value where there is one output, else an object."""
    if not all(isinstance(value, list) for value in outputs.values()):
        raise invalid("Tensors without a 0th dimension can't be written by row; ask with 'inputs'")
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
