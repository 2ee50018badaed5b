"""SIGTERM while clients ask over gRPC and REST: nobody gets a wrong answer or half of one."""

import base64
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.tiny import gray_png

pytestmark = [pytest.mark.tf, pytest.mark.slow]

REPO = Path(__file__).parents[2]
MOST_SECONDS = 30  # from SIGTERM to the end: drain_seconds of 8, and what a busy machine adds
CONFIG = """
access_log: true
batching: {timeout_ms: 100, max_batch_size: 4}  # so that some requests are under way at any time
"""
BODY = json.dumps({"instances": [{"b64": base64.b64encode(gray_png(51)).decode()}]})
RIGHT = pytest.approx([0.2, 0.25], abs=1e-6)


class Clients:
    """Threads that ask until the server is gone; what they got, counted."""

    def __init__(self, grpc_port: int, rest_port: int):
        self.grpc_port, self.rest_port = grpc_port, rest_port
        self.outcomes: Counter[str] = Counter()
        self.gone = threading.Event()
        kinds = [self._grpc] * 9 + [self._rest_kept, self._rest_new] * 3
        self._threads = [threading.Thread(target=kind, daemon=True) for kind in kinds]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gone.set()
        for thread in self._threads:
            thread.join(60)

    def _grpc(self) -> None:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        request = predict_pb2.PredictRequest()
        request.model_spec.name = "tiny"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([gray_png(51)]))
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self.gone.is_set():
                try:
                    answer = stub.Predict(request, timeout=30)
                    found = tf.make_ndarray(answer.outputs["probabilities"])[0].tolist()
                    self.outcomes["gRPC right" if found == RIGHT else f"gRPC {found}"] += 1
                except grpc.RpcError as error:
                    self.outcomes[f"gRPC {error.code().name}"] += 1
                    time.sleep(0.002)  # soon again: some ask just when the server ends

    def _rest_kept(self) -> None:
        """One connection for many requests; a new one only where the server closed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=30)
        while not self.gone.is_set():
            self._ask(connection)

    def _rest_new(self) -> None:
        while not self.gone.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=30)
            self._ask(connection)
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        fresh = connection.sock is None
        try:
            connection.request("POST", "/v1/models/tiny:predict", BODY)
            response = connection.getresponse()
        except ConnectionRefusedError:
            self.outcomes["REST refused"] += 1
            connection.close()
            time.sleep(0.02)
            return
        except (ConnectionError, http.client.HTTPException) as error:
            # Connected, but the listening socket was closed before this connection was accepted.
            self.outcomes["REST not accepted" if fresh else f"REST {error!r}"] += 1
            connection.close()
            return
        try:
            answer = json.loads(response.read())
        except (ConnectionError, http.client.HTTPException) as error:
            self.outcomes[f"REST half an answer: {error!r}"] += 1
            connection.close()
            return
        if response.status == 200:
            right = answer["predictions"][0]["probabilities"] == RIGHT
            self.outcomes["REST right" if right else f"REST {answer}"] += 1
        else:
            closes = response.getheader("connection")
            self.outcomes[f"REST {response.status} {closes}"] += 1
            time.sleep(0.02)


@contextlib.contextmanager
def stuck(grpc_port: int, rest_port: int) -> Iterator[socket.socket]:
    """Who neither asks nor goes: a watcher of the health, half a head, half a body (yielded)."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with (
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
        socket.create_connection(("127.0.0.1", rest_port)) as head,
        socket.create_connection(("127.0.0.1", rest_port), timeout=30) as body,
    ):
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watching)
        head.sendall(b"POST /v1/models/tiny:predict HT")
        start = b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\n"
        body.sendall(start + b'Content-Length: 1000\r\n\r\n{"inst')
        yield body


def test_sigterm_under_load(tmp_path, tiny_models, push_version):
    push_version(tiny_models[0.25], tmp_path / "models" / "tiny", 3)
    config, log = tmp_path / "server.yaml", tmp_path / "serve.log"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "cxrflow.pipeline.cli", "serve", "--root", tmp_path / "models"]
    command += ["--config", config, "--port", "0", "--rest-port", "0", "--log", log]
    process = subprocess.Popen(list(map(str, command)), cwd=REPO, stdout=subprocess.PIPE, text=True)
    try:
        ports = [int(re.search(r":(\d+)", process.stdout.readline())[1]) for _ in range(2)]
        with Clients(*ports) as clients, stuck(*ports) as held:
            while clients.outcomes["gRPC right"] < 50 or clients.outcomes["REST right"] < 50:
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            before = clients.outcomes.copy()
            process.send_signal(signal.SIGTERM)
            assert process.wait(MOST_SECONDS) == 0
            after = clients.outcomes - before
            assert held.recv(1000).startswith(b"HTTP/1.1 503 ")
    finally:
        process.kill()
        process.stdout.close()
    assert set(before) == {"gRPC right", "REST right"}
    allowed = {
        *("gRPC right", "gRPC UNAVAILABLE"),
        *("REST right", "REST 503 close", "REST refused", "REST not accepted"),
    }
    assert set(after) <= allowed, after
    assert after["gRPC UNAVAILABLE"] and after["REST 503 close"], after
    text = log.read_text()
    assert "Traceback" not in text, text
    line = r"127.0.0.1:\d+ POST /v1/models/tiny:predict model=tiny version=3 200 \d+\.\d ms "
    assert re.search(line + rf"{len(BODY)} bytes\n", text)
    assert re.search(r"ipv4:127.0.0.1:\d+ Predict model=tiny version=3 OK \d+\.\d ms \d+", text)
