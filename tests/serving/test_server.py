"""The embedded server over its wires, against what TF Serving answers."""

import base64
import contextlib
import json
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
import zlib

import grpc
import numpy as np
import pytest

from tests.serving.tf_server import TfServing, running_tf_serving
from tests.serving.tiny import gray_png

pytestmark = [pytest.mark.tf, pytest.mark.slow]


@pytest.fixture(scope="module", params=["embedded", "tf_serving"])
def server(request, tmp_path_factory, tiny_models, push_version):
    from cxrflow.schema.image_rules import ImageLimits
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import BatchingConfig, ServerConfig

    root = tmp_path_factory.mktemp("root")
    push_version(tiny_models[0.25], root / "tiny", 3)
    push_version(tiny_models[0.75], root / "tiny", 7)
    (root / "tiny" / "labels.json").write_text('{"labels": {"stable": 3, "canary": 7}}')
    config = ServerConfig(
        grpc_port=0,
        rest_port=0,
        max_message_bytes=300_000,
        max_rest_bytes=450_000,
        max_request_images=20,
        images=ImageLimits(max_side=128, max_bytes=200_000),
        batching=BatchingConfig(max_batch_size=4),
        poll_seconds=0.2,
    )
    started = (
        running(root, config)
        if request.param == "embedded"
        else running_tf_serving(root, config, tmp_path_factory.mktemp("tf_serving"))
    )
    with started as server:
        yield server


@pytest.fixture
def embedded(server):
    """For tests of what only the embedded server does."""
    if isinstance(server, TfServing):
        pytest.skip("TF Serving does it otherwise")


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def predictions(channel):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    from tensorflow_serving.apis import model_service_pb2_grpc

    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(*images, name="tiny", signature="", outputs=(), inputs=None, **spec):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    made = predict_pb2.PredictRequest(output_filter=outputs)
    made.model_spec.name, made.model_spec.signature_name = name, signature
    if "version" in spec:
        made.model_spec.version.value = spec["version"]
    if "label" in spec:
        made.model_spec.version_label = spec["label"]
    values = {"image_bytes": list(images)} if inputs is None else inputs
    for key, value in values.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return made


def array(response, output="probabilities"):
    import tensorflow as tf

    return tf.make_ndarray(response.outputs[output])


def refused(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code().name, caught.value.details()


def bomb(width, height):
    """A PNG header that claims any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    return start + struct.pack(">I", zlib.crc32(header))


def broken_png():
    """A PNG with a sound header and end, and pixels that can't be decoded."""
    data = bytearray(gray_png(100))
    at = data.index(b"IDAT") + 6
    data[at : at + 8] = b"\xff" * 8
    return bytes(data)


def example(**features):
    import tensorflow as tf

    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in features.items()
            }
        )
    )


# --- Predict -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec, version, mark",
    [
        ({}, 3, 0.25),
        ({"version": 7}, 7, 0.75),
        ({"version": 3}, 3, 0.25),
        ({"label": "canary"}, 7, 0.75),
        ({"label": "stable"}, 3, 0.25),
    ],
)
def test_predict_answers_with_the_version_asked_for(server, predictions, spec, version, mark):
    if not spec and isinstance(server, TfServing):
        version, mark = 7, 0.75  # the latest one; ours is the stable one
    response = predictions.Predict(request(gray_png(51), gray_png(255), **spec))
    assert array(response) == pytest.approx(np.array([[0.2, mark], [1, mark]]), abs=1e-6)
    assert array(response, "logits").shape == (2, 2)
    assert response.model_spec.version.value == version
    assert response.model_spec.signature_name == "serving_default"
    assert len(response.outputs["probabilities"].float_val) == 4


def test_other_signatures_and_the_output_filter(predictions):
    only = predictions.Predict(request(gray_png(51), outputs=["logits"]))
    assert set(only.outputs) == {"logits"}
    image = np.full((3, 2, 2, 3), 51, np.float32)
    pixels = predictions.Predict(request(signature="pixels", inputs={"image": image}))
    assert array(pixels) == pytest.approx(np.array([[0.2, 0.25]] * 3))
    raw = example(**{"image/encoded": gray_png(51)}).SerializeToString()
    examples = predictions.Predict(request(signature="examples", inputs={"examples": [raw]}))
    assert array(examples) == pytest.approx(np.array([[0.2, 0.25]]))


def test_more_images_than_a_batch_are_answered_in_order(predictions):
    values = range(0, 200, 10)
    response = predictions.Predict(request(*map(gray_png, values)))
    assert array(response)[:, 0] == pytest.approx([v / 255 for v in values], abs=1e-6)


@pytest.mark.parametrize(
    "wrong, code, text",
    [
        ({"name": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ({"version": 5}, "NOT_FOUND", "Servable not found for request: Specific(tiny, 5)"),
        ({"label": "x"}, "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
        ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"signature": "x"}, "FAILED_PRECONDITION", 'Serving signature key "x" not found.'),
        (
            {"inputs": {}},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({image_bytes}). "
            "Sent extra: {}. Missing but required: {image_bytes}.",
        ),
        (
            {"inputs": {"image_bytes": [b"x"], "more": [b"x"]}},
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({image_bytes,more}) != "
            "len({image_bytes}). Sent extra: {more}. Missing but required: {}.",
        ),
        (
            {"inputs": {"image_bytes": [1.0]}},
            "INVALID_ARGUMENT",
            "Expects input image_bytes to be string but float is provided",
        ),
        (
            {"outputs": ["x"]},
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: x "
            "Outputs expected to be in the set {logits,probabilities}.",
        ),
        (
            {"outputs": ["logits", "logits"]},
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: logits",
        ),
    ],
)
def test_predict_refuses_as_tf_serving_does(predictions, wrong, code, text):
    assert refused(predictions.Predict, request(gray_png(1), **wrong)) == (code, text)


@pytest.mark.parametrize(
    "images, text",
    [
        ([b""], "empty"),
        ([b"GIF89a" + bytes(100)], "neither a PNG nor a JPEG"),
        ([bomb(20_000, 20_000)], "20000x20000 pixels; each side must have 64 to 128"),
        ([gray_png(1), b"text"], "image 1: neither a PNG nor a JPEG"),
        ([gray_png(1) + bytes(200_000)], "bytes; at most 200000"),
        ([gray_png(1)] * 21, "21 rows; 1 to 20"),
    ],
)
def test_images_are_refused_before_the_model_sees_them(server, predictions, images, text):
    before = batches(server)
    code, details = refused(predictions.Predict, request(*images))
    assert code == "INVALID_ARGUMENT" and text in details
    assert batches(server) == before
    if len(images) == 1:  # inside tf.Examples too
        raw = example(**{"image/encoded": images[0]}).SerializeToString()
        inside = request(signature="examples", inputs={"examples": [raw]})
        assert refused(predictions.Predict, inside)[0] == "INVALID_ARGUMENT"


def batches(server):
    text = server.metrics.page().decode()
    found = re.search(r'cxrflow_serving_batch_size_count\{model_name="tiny"\} (\S+)', text)
    return float(found[1]) if found else 0.0


def test_a_huge_image_is_refused_before_it_is_decoded(server, predictions):
    assert refused(predictions.Predict, request(bomb(20_000, 20_000) + bytes(150_000))) == (
        "INVALID_ARGUMENT",
        "20000x20000 pixels; each side must have 64 to 128",
    )


@pytest.mark.usefixtures("embedded")
def test_a_bad_image_fails_only_its_own_request(predictions):
    images = [gray_png(value) for value in range(0, 160, 10)]
    images[5] = broken_png()
    futures = [predictions.Predict.future(request(image)) for image in images]
    for i, future in enumerate(futures):
        if i == 5:
            assert future.exception().code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "{{node" not in future.exception().details()
        else:
            assert array(future.result())[0, 0] == pytest.approx(i * 10 / 255, abs=1e-6)


@pytest.mark.usefixtures("embedded")
def test_equal_images_of_a_request_are_computed_once(server, predictions):
    model = server.manager.statuses("tiny")[3]
    rows, run = [], model.batcher._run

    def counting(signature, inputs, outputs):
        rows.append(len(inputs["image_bytes"]))
        return run(signature, inputs, outputs)

    model.batcher._run = counting
    try:
        black, white = gray_png(0), gray_png(255)
        answer = array(predictions.Predict(request(white, black, white, white, black, white)))
        assert answer[:, 0].tolist() == pytest.approx([1, 0, 1, 1, 0, 1])
        few = request(white)
        few.inputs["image_bytes"].tensor_shape.dim[0].size = 20  # as the last value is repeated
        assert array(predictions.Predict(few))[:, 0].tolist() == pytest.approx([1] * 20)
    finally:
        model.batcher._run = run
    assert rows == [2, 1]


@pytest.mark.usefixtures("embedded")
def test_a_message_that_never_comes_keeps_no_other_call_out(server):
    """Calls of one connection that send nothing, beyond what it may send at once."""
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    stop = threading.Event()

    def silent():
        stop.wait()
        yield b""

    address = f"127.0.0.1:{server.grpc_port}"
    own = [("grpc.use_local_subchannel_pool", 1)]
    method = "/tensorflow.serving.PredictionService/Predict"
    with grpc.insecure_channel(address, own) as mine, grpc.insecure_channel(address, own) as other:
        stuck = [mine.stream_unary(method).future(silent(), timeout=3) for _ in range(40)]
        time.sleep(0.5)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(other)
        assert array(stub.Predict(request(gray_png(51)), timeout=20))[0, 1] == 0.25
        assert {one.exception().code().name for one in stuck} == {"DEADLINE_EXCEEDED"}
        stub = prediction_service_pb2_grpc.PredictionServiceStub(mine)
        assert array(stub.Predict(request(gray_png(51)), timeout=20))[0, 1] == 0.25
        stop.set()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


@pytest.mark.usefixtures("embedded")
def test_a_burst_of_silent_calls_cancels_nobody_elses(server, predictions):
    """4,000 over 32 connections, while the event loop is busy: gRPC would refuse from 3,000 on."""
    from cxrflow.serving.loop import front

    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/tensorflow.serving.PredictionService/Predict",
        b":authority": b"x",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    packed = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in headers.items()
    )
    calls = b"".join(frame(1, 4, 1 + 2 * i, packed) for i in range(125))
    front().loop.call_soon_threadsafe(time.sleep, 3)
    with contextlib.ExitStack() as opened:
        for _ in range(32):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", server.grpc_port)))
            one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + calls)
        time.sleep(1)
        assert array(predictions.Predict(request(gray_png(51)), timeout=60))[0, 1] == 0.25


@pytest.mark.usefixtures("embedded")
def test_limits_of_messages_and_deadlines(server, predictions):
    code, _ = refused(predictions.Predict, request(bytes(400_000)))
    assert code == "RESOURCE_EXHAUSTED"
    model = server.manager.statuses("tiny")[3]
    gate, run = threading.Event(), model.batcher._run
    model.batcher._run = lambda *args: gate.wait(60) and run(*args)
    try:
        slow = [predictions.Predict.future(request(gray_png(1)), timeout=20) for _ in range(2)]
        time.sleep(0.3)  # both threads are busy
        code, _ = refused(predictions.Predict, request(gray_png(2)), timeout=0.2)
        assert code == "DEADLINE_EXCEEDED"
        gate.set()
        assert all(array(one.result())[0, 1] == 0.25 for one in slow)
    finally:
        gate.set()
        model.batcher._run = run


def test_a_full_queue_is_unavailable(server, predictions):
    model = server.manager.statuses("tiny")[3]
    gate, entered, run = threading.Event(), threading.Semaphore(0), model.batcher._run

    def held(*args: object) -> object:
        entered.release()
        gate.wait(60)
        return run(*args)

    model.batcher._run = held
    try:
        threads, queue = server.config.batching.threads, server.config.batching.max_queue
        first = []
        for _ in range(threads):  # one by one, or a thread would take two of them as a batch
            first.append(predictions.Predict.future(request(gray_png(1))))
            assert entered.acquire(timeout=60)
        waiting = [predictions.Predict.future(request(gray_png(1))) for _ in range(queue)]
        deadline = time.monotonic() + 10
        while model.batcher.waiting < queue and time.monotonic() < deadline:
            time.sleep(0.01)
        code, text = refused(predictions.Predict, request(gray_png(2)))
        assert (code, "queue" in text) == ("UNAVAILABLE", True)
        gate.set()
        assert all(one.result() for one in first + waiting)
    finally:
        gate.set()
        model.batcher._run = run


# --- The other methods ---------------------------------------------------------------------------


@pytest.mark.usefixtures("embedded")
def test_classify_takes_examples_and_names_the_classes(predictions):
    from tensorflow_serving.apis import classification_pb2

    ask = classification_pb2.ClassificationRequest()
    ask.model_spec.name = "tiny"
    assert refused(predictions.Classify, ask) == ("INVALID_ARGUMENT", "Input is empty.")
    for value in (51, 255):
        ask.input.example_list.examples.append(example(**{"image/encoded": gray_png(value)}))
    found = predictions.Classify(ask).result.classifications
    assert [[(c.label, round(c.score, 4)) for c in one.classes] for one in found] == [
        [("Mean", 0.2), ("Mark", 0.25)],
        [("Mean", 1.0), ("Mark", 0.25)],
    ]
    ask.model_spec.signature_name = "serving_default"
    code, text = refused(predictions.Classify, ask)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith(
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict"
    )


@pytest.mark.usefixtures("embedded")
def test_a_context_cannot_multiply_a_request(server, predictions):
    from tensorflow_serving.apis import classification_pb2

    ask = classification_pb2.ClassificationRequest()
    ask.model_spec.name = "tiny"
    listed = ask.input.example_list_with_context
    listed.context.CopyFrom(example(**{"image/encoded": gray_png(51)}))
    for _ in range(2):
        listed.examples.add()
    found = predictions.Classify(ask).result.classifications
    assert [round(one.classes[0].score, 4) for one in found] == [0.2, 0.2]
    listed.context.MergeFrom(example(a=bytes(200_000)))
    code, text = refused(predictions.Classify, ask)
    assert (code, "the context" in text) == ("RESOURCE_EXHAUSTED", True)
    for _ in range(40_000):
        listed.examples.add()
    code, text = refused(predictions.Classify, ask)
    assert (code, "40002 rows" in text) == ("INVALID_ARGUMENT", True)


@pytest.mark.usefixtures("embedded")
def test_regress_is_unimplemented(predictions):
    from tensorflow_serving.apis import regression_pb2

    assert refused(predictions.Regress, regression_pb2.RegressionRequest())[0] == "UNIMPLEMENTED"


def test_metadata_holds_the_signatures(predictions):
    from tensorflow_serving.apis import get_model_metadata_pb2

    ask = get_model_metadata_pb2.GetModelMetadataRequest()
    ask.model_spec.name = "tiny"
    assert refused(predictions.GetModelMetadata, ask) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    ask.metadata_field.append("signature_def")
    response = predictions.GetModelMetadata(ask)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "examples", "pixels"}
    assert response.model_spec.version.value == 3
    ask.metadata_field.append("x")
    assert refused(predictions.GetModelMetadata, ask) == (
        "INVALID_ARGUMENT",
        "Metadata field x is not supported",
    )


@pytest.mark.usefixtures("embedded")
def test_metadata_tells_who_answers(predictions):
    from google.protobuf import wrappers_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2

    ask = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["manifest.sha256"])
    ask.model_spec.name = "tiny"
    text = wrappers_pb2.StringValue()
    assert predictions.GetModelMetadata(ask).metadata["manifest.sha256"].Unpack(text)
    assert re.fullmatch("[0-9a-f]{64}", text.value)


def test_status(models):
    from tensorflow_serving.apis import get_model_status_pb2

    ask = get_model_status_pb2.GetModelStatusRequest()
    ask.model_spec.name = "tiny"
    states = models.GetModelStatus(ask).model_version_status
    assert [(s.version, s.state) for s in states] == [(7, 30), (3, 30)]  # AVAILABLE
    ask.model_spec.version_label = "canary"
    assert [s.version for s in models.GetModelStatus(ask).model_version_status] == [7]
    ask.model_spec.version.value = 9
    assert refused(models.GetModelStatus, ask) == (
        "NOT_FOUND",
        "Could not find version 9 of model tiny",
    )
    ask.model_spec.Clear()
    ask.model_spec.name = "nope"
    assert refused(models.GetModelStatus, ask) == (
        "NOT_FOUND",
        "Could not find any versions of model nope",
    )
    assert refused(models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()) == (
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    )


@pytest.mark.usefixtures("embedded")
def test_health_and_reflection(channel):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    asks = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="tensorflow.serving.ModelService"
        ),
    ]
    listed, described = reflection.ServerReflectionInfo(iter(asks))
    names = {service.name for service in listed.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names
    assert b"HandleReloadConfigRequest" in b"".join(
        described.file_descriptor_response.file_descriptor_proto
    )


@pytest.mark.usefixtures("embedded")
def test_bytes_that_are_no_request(channel):
    for service, method in (("PredictionService", "Predict"), ("ModelService", "GetModelStatus")):
        call = channel.unary_unary(f"/tensorflow.serving.{service}/{method}")
        assert refused(call, b"\xff\xff\xff") == (
            "INVALID_ARGUMENT",
            "The request can't be parsed",
        )
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Nope")
    assert refused(call, b"")[0] == "UNIMPLEMENTED"


def test_random_and_mutated_requests_are_answered(server):
    from tests.bench.serving_fuzz import attack

    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        found = attack(channel, request(gray_png(51)), count=600, seed=0)
    assert sum(found.values()) == 600
    assert found["OK"] and found["INVALID_ARGUMENT"] > 100
    assert set(found) <= {
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "FAILED_PRECONDITION",
        "UNIMPLEMENTED",
        "RESOURCE_EXHAUSTED",
        "PERMISSION_DENIED",  # reloading
    }


def test_noise_on_the_port_does_no_harm(server, predictions):
    for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 10, b"PRI * HTTP/2.0\r\n\r\n"):
        for port in (server.grpc_port, server.rest_port):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(noise)
    assert array(predictions.Predict(request(gray_png(0))))[0, 1] == 0.25


# --- REST ----------------------------------------------------------------------------------------


def rest(server, path, body=None):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    url = f"http://127.0.0.1:{server.rest_port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def test_rest_predict(server):
    image = b64(gray_png(51))
    path = "/v1/models/tiny:predict"
    status, found = rest(server, path, {"instances": [image, image]})
    assert status == 200
    assert [row["probabilities"] for row in found["predictions"]] == [
        pytest.approx([0.2, 0.25], abs=1e-6)
    ] * 2
    _, found = rest(server, path, {"instances": [{"image_bytes": image}]})
    assert found["predictions"][0]["probabilities"][1] == 0.25
    _, found = rest(server, path, {"inputs": {"image_bytes": [image]}})
    assert set(found["outputs"]) == {"probabilities", "logits"}
    pixels = {"signature_name": "pixels", "instances": np.full((2, 2, 2, 3), 51).tolist()}
    _, found = rest(server, path, pixels)
    assert found["predictions"] == [pytest.approx([0.2, 0.25])] * 2
    for part, mark in (("versions/7", 0.75), ("labels/canary", 0.75), ("versions/3", 0.25)):
        _, found = rest(server, f"/v1/models/tiny/{part}:predict", {"inputs": [image]})
        assert found["outputs"]["probabilities"][0][1] == mark


def test_rest_status_and_metadata(server):
    status, found = rest(server, "/v1/models/tiny/versions/3")
    assert (status, found) == (
        200,
        {
            "model_version_status": [
                {
                    "version": "3",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        },
    )
    _, found = rest(server, "/v1/models/tiny/metadata")
    assert found["model_spec"] == {"name": "tiny", "signature_name": "", "version": "3"}
    assert "serving_default" in found["metadata"]["signature_def"]["signature_def"]


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    "path, body, status, text",
    [
        ("/v1/models/nope", None, 404, "Could not find any versions of model nope"),
        ("/v1/models/tiny/versions/9", None, 404, "Could not find version 9 of model tiny"),
        ("/v1/nonsense", None, 400, "Malformed request: GET /v1/nonsense"),
        ("/v1/models/tiny:predict", None, 400, "Malformed request"),
        ("/v1/models/nope:predict", {"inputs": []}, 404, "Servable not found"),
        ("/v1/models/tiny/labels/x:predict", {"inputs": []}, 400, "Unrecognized servable"),
        ("/v1/models/tiny:predict", b"{", 400, "JSON Parse error"),
        ("/v1/models/tiny:predict", b"[" * 100_000, 400, "JSON"),
        ("/v1/models/tiny:predict", [], 400, "no object"),
        ("/v1/models/tiny:predict", {}, 400, "either 'instances' or 'inputs'"),
        ("/v1/models/tiny:predict", {"instances": []}, 400, "at least one"),
        ("/v1/models/tiny:predict", {"instances": [{"b64": "?"}]}, 400, "expected type: string"),
        ("/v1/models/tiny:predict", {"instances": [{"b64": 5}]}, 400, "expected type: string"),
        ("/v1/models/tiny:predict", {"instances": [1]}, 400, "expected type: string"),
        ("/v1/models/tiny:predict", {"instances": [{"x": 1}]}, 400, "named input: x"),
        ("/v1/models/tiny:predict", {"instances": [b64(b"text")]}, 400, "neither a PNG"),
        ("/v1/models/tiny:predict", {"signature_name": 1, "inputs": 1}, 400, "must be a string"),
        ("/v1/models/tiny:predict", {"signature_name": "x", "inputs": 1}, 400, '"x" not found'),
        (
            "/v1/models/tiny:predict",
            {"signature_name": "pixels", "inputs": [["a"]]},
            400,
            "expected type: float32",
        ),
        (
            "/v1/models/tiny:predict",
            {"signature_name": "pixels", "inputs": [[1.0], [1.0, 2.0]]},
            400,
            "expected type: float32",
        ),
        ("/v1/models/tiny:classify", {}, 400, "key 'examples' is expected"),
        ("/v1/models/tiny:classify", {"examples": [1]}, 400, "Example must be JSON object"),
        ("/v1/models/tiny:regress", {}, 400, "the models classify"),
        ("/v2/models/nope", None, 404, "Servable not found"),
        ("/v2/models/tiny/infer", {}, 400, "'inputs' must be a list of tensors"),
        ("/elsewhere", None, 404, "Not Found"),
        ("/v1/models/tiny:predict", bytes(600_000), 413, "more than 450000 bytes"),
    ],
)
def test_rest_refuses_with_a_reason(server, path, body, status, text):
    found, error = rest(server, path, body)
    assert found == status and text in error


@pytest.mark.usefixtures("embedded")
def test_metrics_count(server, predictions):
    def page():
        url = f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics"
        text = urllib.request.urlopen(url).read().decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    before = page()
    predictions.Predict(request(gray_png(1)))
    refused(predictions.Predict, request(b"x"))
    refused(predictions.Predict, request(b"x", name="made up"))
    after = page()
    assert not any("made up" in name for name in after)
    for status in ("OK", "INVALID_ARGUMENT"):
        name = f':tensorflow:serving:request_count{{model_name="tiny",status="{status}"}}'
        assert after[name] == before.get(name, 0) + 1
    assert (
        after['cxrflow_serving_version_state{model_name="tiny",state="AVAILABLE",version="7"}'] == 1
    )
    assert after['cxrflow_serving_queue_length{model_name="tiny",version="3"}'] == 0
    latency = ':tensorflow:serving:request_latency_count{API="Predict",entrypoint="gRPC",'
    assert after[latency + 'model_name="tiny"}'] == before[latency + 'model_name="tiny"}'] + 2


# --- Ports, TLS ----------------------------------------------------------------------------------


def test_a_taken_port_is_an_error_in_one_line(server):
    from cxrflow.schema.errors import CxrflowError
    from cxrflow.serving.server import Server
    from cxrflow.serving.settings import ServerConfig

    for ports, option in (
        ({"grpc_port": server.grpc_port, "rest_port": 0}, "--port"),
        ({"grpc_port": 0, "rest_port": server.rest_port}, "--rest-port"),
    ):
        with pytest.raises(CxrflowError, match=f"choose another with {option}"):
            Server(server.manager.root, ServerConfig(**ports))


def test_tls(server, tmp_path):
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost"]
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    made = subprocess.run(
        [*command, "-addext", names, "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("openssl can't make a certificate")
    config = ServerConfig(
        grpc_port=0, rest_port=0, tls_certificate=str(certificate), tls_key=str(key)
    )
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with running(server.manager.root, config) as encrypted:
        trust = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{encrypted.grpc_port}", trust) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert array(stub.Predict(request(gray_png(0))))[0, 1] == 0.25
        url = f"https://localhost:{encrypted.rest_port}/v1/models/tiny"
        context = ssl.create_default_context(cafile=str(certificate))
        assert urllib.request.urlopen(url, context=context).status == 200
        with grpc.insecure_channel(f"localhost:{encrypted.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert refused(stub.Predict, request(gray_png(0)), timeout=60)[0] == "UNAVAILABLE"
