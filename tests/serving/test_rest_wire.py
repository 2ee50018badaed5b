"""The REST side over raw sockets: framing, encodings, limits, and the APIs beside TF Serving's."""

import base64
import contextlib
import gzip
import http.client
import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving.tiny import gray_png

pytestmark = [pytest.mark.tf, pytest.mark.slow]

PREDICT = "/v1/models/tiny:predict"
PNG = base64.b64encode(gray_png(51)).decode()
ASKED = json.dumps({"instances": [{"b64": PNG}]}).encode()
GZIPPED = gzip.compress(ASKED, mtime=0)
STATUS = b"GET /v1/models/tiny HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_models, push_version):
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import BatchingConfig, ServerConfig

    root = tmp_path_factory.mktemp("wire")
    push_version(tiny_models[0.25], root / "tiny", 3)
    config = ServerConfig(
        grpc_port=0,
        rest_port=0,
        max_message_bytes=5_000_000,
        max_rest_bytes=200_000,
        max_bodies_bytes=600_000,
        max_json_values=1000,
        max_json_lists=300,
        max_json_names=100,
        max_decoded_bytes=5 * 2 * 64 * 64,
        max_connections=20,
        head_seconds=1.0,
        cors_origins=("https://viewer.example",),
        batching=BatchingConfig(max_batch_size=4),
    )
    with running(root, config) as server:
        yield server


def ask(server, body=ASKED, path=PREDICT, method="POST", chunked=False, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    data = iter([body]) if chunked else body
    connection.request(method, path, data, headers, encode_chunked=chunked)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response, json.loads(answer) if answer else None


def raw(server, data, wait=60.0):
    """What comes back until the server closes or nothing comes for `wait` seconds."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=wait) as connection:
        connection.sendall(data)
        found = b""
        try:
            while more := connection.recv(65536):
                found += more
        except (TimeoutError, ConnectionResetError):
            pass
    return found


def probabilities(found):
    return found["predictions"][0]["probabilities"]


# --- What TensorFlow Serving accepts -------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"body": GZIPPED, "Content_Encoding": "gzip"},
        {"body": GZIPPED, "Content_Encoding": " GZIP "},
        {"chunked": True, "Transfer_Encoding": "chunked"},
        {"path": "/v1/Models/tiny:PREDICT"},
        {"path": PREDICT + "?x=1"},
        {"path": "/v1/models/tiny/versions/3:predict"},
        {"path": "/v1/models/tiny/labels/stable:predict"},
        {"body": json.dumps({"instances": [{"b64": PNG.rstrip("=")}]}).encode()},
        {"body": json.dumps({"instances": [{"b64": " \t" + "\n".join(PNG)}]}).encode()},
        {"body": json.dumps({"signature_name": "", "instances": [{"b64": PNG}]}).encode()},
        {"body": json.dumps({"extra": [1], "instances": [{"b64": PNG}]}).encode()},
    ],
)
def test_forms_of_one_request(server, kwargs):
    response, found = ask(server, **kwargs)
    assert (response.status, probabilities(found)) == (200, pytest.approx([0.2, 0.25]))


def test_classify_names_the_classes(server):
    body = json.dumps({"examples": [{"image/encoded": {"b64": PNG}}]}).encode()
    response, found = ask(server, body, "/v1/models/tiny:classify")
    assert response.status == 200
    assert found == {"results": [[["Mean", pytest.approx(0.2)], ["Mark", 0.25]]]}


def test_a_context_goes_before_each_example_which_counts_where_both_name_a_feature(server):
    white = {"image/encoded": {"b64": base64.b64encode(gray_png(255)).decode()}}
    body = json.dumps({"context": white, "examples": [{}, {"image/encoded": {"b64": PNG}}]})
    response, found = ask(server, body.encode(), "/v1/models/tiny:classify")
    assert response.status == 200
    assert [row[0] for row in found["results"]] == [
        ["Mean", pytest.approx(1.0)],
        ["Mean", pytest.approx(0.2)],
    ]


@pytest.mark.parametrize(
    ("context", "examples", "status", "text"),
    [
        ({}, 17, 400, "17 rows; 1 to 16"),
        ({"a": list(range(900))}, 17, 400, "17 rows; 1 to 16"),
        ({"a": "x" * 100_000}, 16, 413, "more than 625000 bytes"),
    ],
)
def test_a_context_cannot_multiply_a_request(server, context, examples, status, text):
    body = json.dumps({"context": context, "examples": [{}] * examples}).encode()
    response, found = ask(server, body, "/v1/models/tiny:classify")
    assert (response.status, text in found["error"]) == (status, True), found


def test_only_a_named_origin_may_ask_from_a_page(server):
    response, _ = ask(server, Origin="https://viewer.example")
    assert response.headers["access-control-allow-origin"] == "https://viewer.example"
    response, _ = ask(server, Origin="https://elsewhere.example")
    assert "access-control-allow-origin" not in response.headers


# --- Framing -------------------------------------------------------------------------------------

INNER = b"GET /v1/models/tiny/metadata HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
        HEAD + b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + INNER,
        HEAD + b"Content-Length: 2, 60\r\n\r\n{}" + INNER,
        HEAD + b"Content-Length: -2\r\n\r\n{}",
        HEAD + b"Content-Length: +2\r\n\r\n{}",
        HEAD + b"Content-Length: 0x2\r\n\r\n{}",
        HEAD + b"Content-Length : 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        HEAD + b"X: a\nY: b\r\n c\r\nContent-Length: " + b"9" * 500 + b"\r\n\r\n{}",
        b"GET //[ \x00 HTTP/1.1\r\n\r\n",
        b"GET /v1/models/tiny HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_and_closed(server, data):
    found = raw(server, data)
    assert found.count(b"HTTP/1.1 ") == 1
    assert found.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in found.lower()


def test_what_is_no_http_does_not_fill_the_log(server, caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            assert raw(server, b"SPAM\r\n\r\n").startswith(b"HTTP/1.1 400 ")
            assert raw(server, STATUS + b"Connection: close, upgrade\r\nUpgrade: a\r\n\r\n")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)), said  # at most once each


def test_a_body_is_never_the_next_request(server):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER)
    data = STATUS + b"Transfer-Encoding: chunked\r\n\r\n" + chunked
    found = raw(server, data + STATUS + b"Connection: close\r\n\r\n")
    assert found.count(b"HTTP/1.1 200 ") == 2
    assert b"signature_def" not in found


def test_pipelined_requests_are_answered_in_order(server):
    found = raw(server, STATUS + b"\r\n" + INNER + STATUS + b"Connection: close\r\n\r\n")
    assert found.count(b"HTTP/1.1 200 ") == 3
    assert found.index(b"model_version_status") < found.index(b"signature_def")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_connection_that_is_not_kept_is_closed_at_once(server, version):
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/%s\r\nConnection: close\r\n\r\n" % version)
        found = b""
        while piece := connection.recv(65536):  # b"": closed; TimeoutError: kept
            found += piece
    assert found.startswith(b"HTTP/1.1 200 ")


# --- Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (bytes(200_001), {}, 413, "more than 200000 bytes"),
        (
            gzip.compress(bytes(10**7), mtime=0),
            {"Content_Encoding": "gzip"},
            413,
            "more than 200000 bytes",
        ),
        (b"no gzip", {"Content_Encoding": "gzip"}, 400, "no gzip"),
        (GZIPPED[:-9], {"Content_Encoding": "gzip"}, 400, "cut short"),
        (GZIPPED + b"x", {"Content_Encoding": "gzip"}, 400, "no gzip"),
        (ASKED, {"Content_Encoding": "br"}, 415, "is not gzip"),
        (b'{"instances":[' + b"[]," * 1000 + b"[]]}", {}, 413, "more than 1000 values"),
        (b'{"instances":' + b"[" * 301 + b"]" * 301 + b"}", {}, 413, "more than 300 lists"),
        (b'{"instances":[' + b"[1,2]," * 300 + b"[]]}", {}, 413, "more than 300 lists"),
        (b'{"instances":' + b"[" * 300 + b"1" + b"]" * 300 + b"}", {}, 400, "expected type"),
        (b'{"instances":[' + b"{}," * 100 + b"{}]}", {}, 413, "more than 100 objects"),
        (b'{"instances":[' + b'"",' * 100 + b'""]}', {}, 413, "more than 100 objects"),
        (b'{"x":{' + b'"":1,' * 100 + b'"":1}}', {}, 413, "more than 100 objects"),
        (b'{"inputs":[' + b"[]," * 16 + b"[]]}", {}, 400, "has 17 rows"),
        (b'{"inputs":[[' + b"[]," * 290 + b"[]]]}", {}, 400, "expected type"),
        (b'{"instances":' + b"1" * 5000 + b"}", {}, 400, "JSON Parse error"),
        (b'{"instances":["\\ud800"]}', {}, 400, "JSON Parse error"),
        (b'{"instances":[{"b64":"\xff"}]}', {}, 400, "JSON Parse error"),
        (b'{"instances":[1e999],"signature_name":"pixels"}', {}, 400, "JSON Parse error"),
        (json.dumps({"instances": [{"b64": PNG}] * 17}).encode(), {}, 400, "17 rows"),
        (
            json.dumps({"instances": [{"b64": PNG}] * 6}).encode(),
            {},
            400,
            "decoding the request would take",
        ),
    ],
)
def test_too_much_is_refused_before_it_costs(server, body, headers, status, text):
    response, found = ask(server, body, **headers)
    assert (response.status, text in found["error"]) == (status, True), found


def test_one_image_in_many_rows_costs_what_all_cost(server):
    """TF Serving's tensors repeat their last value."""
    import grpc
    from tensorflow.core.framework import types_pb2
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny"
    tensor = request.inputs["image_bytes"]
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add(size=6)
    tensor.string_val.append(gray_png(51))
    with (
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "decoding the request would take" in caught.value.details()


def test_a_long_head_is_refused(server):
    found = raw(server, STATUS + b"X: %s\r\n" % (b"a" * 8000) * 20)
    assert found.startswith(b"HTTP/1.1 431 ")


def test_slow_heads_of_one_client_keep_nobody_out(server):
    held = [
        socket.create_connection(("127.0.0.1", server.rest_port), timeout=20) for _ in range(40)
    ]
    for connection in held:
        with contextlib.suppress(OSError):  # its place may have gone to another
            connection.sendall(b"GET /v1/models/tiny HTTP/1.1\r\nX: ")
    for _ in range(5):
        assert ask(server)[0].status == 200
    for connection in held:  # all are dropped within head_seconds
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
        connection.close()


def test_held_bodies_of_one_client_keep_nobody_out(server):
    head = HEAD + b"Content-Length: 200000\r\n\r\n"
    held = []
    for _ in range(10):
        connection = socket.create_connection(("127.0.0.1", server.rest_port), timeout=20)
        connection.sendall(head + b" " * 199_000)
        held.append(connection)
    time.sleep(1.5)  # they stall
    big = b" " * 150_000 + ASKED
    for _ in range(3):
        assert ask(server, big)[0].status == 200
    for connection in held:
        connection.close()


def test_small_bodies_that_inflate_wait_for_room_as_large_ones_do(server):
    """Ten clients of 3 KB each ask for 2 MB, where 600 KB are allowed."""
    bodies = server._rest._bodies
    most, make_room = [0], bodies._make_room

    async def watched(body, size):
        await make_room(body, size)
        most.append(bodies._total() + size)

    bodies._make_room = watched
    small = gzip.compress(b" " * 190_000 + ASKED, mtime=0)
    try:
        with ThreadPoolExecutor(10) as clients:
            found = clients.map(lambda _: ask(server, small, Content_Encoding="gzip"), range(10))
            assert [response.status for response, _ in found] == [200] * 10
    finally:
        del bodies._make_room
    assert 190_000 < max(most) <= 600_000


# --- Health, and the Open Inference Protocol -----------------------------------------------------


def test_health_over_http(server):
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        response, found = ask(server, None, path, "GET")
        assert (response.status, found["status"]) == (200, "ok"), path


def test_metrics_are_got_and_nothing_else(server):
    from cxrflow.serving.rest import METRICS_PATH

    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    connection.request("GET", METRICS_PATH)
    assert b":tensorflow:serving:request_count" in connection.getresponse().read()
    connection.request("POST", METRICS_PATH, b"")
    assert connection.getresponse().status == 405
    connection.close()


def test_open_inference_metadata(server):
    _, found = ask(server, None, "/v2/models/tiny", "GET")
    assert found["name"] == "tiny" and found["versions"] == ["3"]
    assert found["inputs"] == [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}]
    assert {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]} in found["outputs"]
    assert ask(server, None, "/v2/models/tiny/versions/3/ready", "GET")[1] == {"ready": True}
    assert ask(server, None, "/v2", "GET")[1]["name"] == "cxrflow"


def infer(**changes):
    tensor = {
        "name": "image_bytes",
        "shape": [2],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [PNG, PNG],
        **changes,
    }
    return {"id": "a7", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}


def test_open_inference_infer(server):
    response, found = ask(server, json.dumps(infer()).encode(), "/v2/models/tiny/infer")
    assert response.status == 200
    assert (found["model_name"], found["model_version"], found["id"]) == ("tiny", "3", "a7")
    (output,) = found["outputs"]
    assert output["name"] == "probabilities" and output["shape"] == [2, 2]
    assert output["datatype"] == "FP32"
    assert output["data"] == pytest.approx([0.2, 0.25, 0.2, 0.25])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x"},
        {"datatype": "FP32"},
        {"datatype": None},
        {"shape": [3]},
        {"shape": "2"},
        {"shape": [-1]},
        {"data": [1, 2]},
        {"data": [PNG, [PNG]]},
        {"data": None},
        {"data": ["?", "?"]},
        {"data": [["a"], ["b"]]},
    ],
    ids=str,
)
def test_open_inference_refuses(server, changes):
    response, found = ask(server, json.dumps(infer(**changes)).encode(), "/v2/models/tiny/infer")
    assert response.status == 400 and found["error"]
