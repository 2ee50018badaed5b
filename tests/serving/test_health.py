"""Health over HTTP and gRPC follows the model's state."""

import json
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest

from cxrflow.schema.errors import CxrflowError

pytestmark = [pytest.mark.tf, pytest.mark.slow]


def get(server, path: str) -> tuple[int, dict]:
    url = f"http://127.0.0.1:{server.rest_port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def until(check) -> None:
    give_up = time.monotonic() + 60
    while not check():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_health_follows_the_models_state(tmp_path, tiny_models, push_version):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    root = tmp_path / "root"
    root.mkdir()
    config = ServerConfig(grpc_port=0, rest_port=0, poll_seconds=0.1)
    with pytest.raises(CxrflowError, match="There is no model"), running(root, config):
        pass
    with (
        running(root, config, need_model=False) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):

        def serving() -> bool:
            asked = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
            answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=20)
            return answer.status == health_pb2.HealthCheckResponse.SERVING

        for path in ("/readyz", "/v2/health/ready"):
            assert get(server, path) == (503, {"status": "no model"})
        assert get(server, "/healthz") == (200, {"status": "ok"})  # the process needs no restart
        assert get(server, "/v2/models/tiny/ready")[0] == 404
        assert not serving()

        push_version(tiny_models[0.25], root / "tiny", 3)
        until(lambda: get(server, "/readyz") == (200, {"status": "ok", "models": {"tiny": 3}}))
        until(serving)
        assert get(server, "/v2/models/tiny/versions/3/ready")[0] == 200
        assert get(server, "/v2/models/tiny/versions/4/ready")[0] == 404  # of that very version

        stopping = threading.Thread(target=server.stop, args=(5.0,))
        stopping.start()
        until(lambda: get(server, "/readyz") == (503, {"status": "stopping"}))
        assert get(server, "/healthz")[0] == 200
        assert not serving()
        assert get(server, "/v2/models/tiny/ready")[0] == 503
        stopping.join()
