"""Errors that a client sees, with gRPC's codes and TF Serving's HTTP codes for them."""

import re
from http import HTTPStatus

import grpc

from cxrflow.schema.portable.image_rules import DAMAGED

_MAX_TEXT = 1000  # characters; gRPC sends it as a header
_ROOT_ERROR = re.compile(r"^\s*\(0\) [A-Z_]+: (.*)$", re.MULTILINE)
_PREAMBLE = "Graph execution error:"
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]")
_DECODER = re.compile(r"\{\{node [^}]*\bDecode(Png|Jpeg)\w*\}\}")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# tensorflow_serving/model_servers/http_server.cc, ToHTTPStatusCode.
_HTTP = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


class StatusError(Exception):
    """Ends a request with a code and a line of text; over REST with TF Serving's HTTP status."""

    def __init__(self, code: grpc.StatusCode, text: str, http: int | None = None):
        super().__init__(text[:_MAX_TEXT])
        self.code = code
        self.http = int(http or _HTTP.get(code, HTTPStatus.INTERNAL_SERVER_ERROR))


def invalid(text: str) -> StatusError:
    """The client's mistake."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> StatusError:
    """No such model or version."""
    return StatusError(grpc.StatusCode.NOT_FOUND, text)


def from_tensorflow(error_code: int, message: str) -> StatusError:
    """What TensorFlow raised, without the names of nodes. Its codes are gRPC's."""
    root = _ROOT_ERROR.search(message)
    text = root[1] if root else message.removeprefix(_PREAMBLE).strip().split("\n")[0]
    if assertion := _ASSERTION.search(text):
        text = assertion[1]  # a rule that the graph checks, and says what is wrong
    elif _DECODER.search(message):
        text = DAMAGED
    return StatusError(_CODES.get(error_code, grpc.StatusCode.UNKNOWN), text.strip())
