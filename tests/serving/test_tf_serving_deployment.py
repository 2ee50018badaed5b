"""The files for TF Serving: parsed as TF Serving, Docker and Prometheus would."""

import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.models_config import (
    models_config,
    update_models_config,
    write_models_config,
)
from cxrflow.schema.store.versions import Labels, write_labels
from cxrflow.serving.settings import BatchingConfig, GatewayConfig, ServerConfig
from cxrflow.serving.tf_serving import deployment
from tests.support.ports import free_port

FILES = Path(deployment.__file__).parent / "files"


@pytest.fixture
def root(tmp_path, push_version) -> Path:
    """Model cxrflow with versions 3, 5, 7, of which 5 is damaged."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    for number in (3, 5, 7):
        push_version(model, tmp_path / "serving" / "cxrflow", number)
    (tmp_path / "serving" / "cxrflow" / "5" / "saved_model.pb").write_bytes(b"other")
    return tmp_path / "serving"


def parse_models_config(text: str):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {model.name: model for model in config.model_config_list.config}


@pytest.mark.tf
@pytest.mark.parametrize(
    ("labels", "loaded", "given"),
    [
        (None, [3, 7], {"stable": 7}),  # 3 is what a rollback would go to
        (Labels({"stable": 3, "canary": 7}), [3, 7], {"stable": 3, "canary": 7}),
        (Labels({"stable": 7, "canary": 5}), [3, 7], {"stable": 7}),  # 5 is damaged
        (Labels({"stable": 3}, pinned=3), [3], {"stable": 3}),
    ],
)
def test_models_config_is_what_tf_serving_parses(root, labels, loaded, given):
    if labels:
        write_labels(root / "cxrflow", labels)
    config = parse_models_config(write_models_config(root).read_text())["cxrflow"]
    assert config.base_path == "/models/cxrflow"
    assert config.model_platform == "tensorflow"
    assert list(config.model_version_policy.specific.versions) == loaded
    assert dict(config.version_labels) == given
    # A label may only name a version that is loaded.
    assert set(config.version_labels.values()) <= set(loaded)


@pytest.mark.tf
def test_models_config_leaves_out_what_cannot_be_served(root, push_version):
    (root / "broken" / "1").mkdir(parents=True)
    model = root.parent / "model"
    push_version(model, root / 'we"ird', 1)
    assert set(parse_models_config(write_models_config(root).read_text())) == {"cxrflow", 'we"ird'}


def test_models_config_is_updated_only_where_it_is_followed(root):
    update_models_config(root)
    assert not (root / "models.config").exists()
    write_models_config(root)
    write_labels(root / "cxrflow", Labels({"stable": 3}))
    update_models_config(root)
    assert 'key: "stable" value: 3' in (root / "models.config").read_text()


def parse_proto(text: str, name: str, fields: dict[str, tuple[int, str]]):
    """Text of a proto that tensorflow-serving-api doesn't ship: field -> (number, type)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
    from google.protobuf import wrappers_pb2 as wrappers

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="t", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    messages = {"Config": fields} if "Config" not in fields else fields
    for message, its in messages.items():
        descriptor = file.message_type.add(name=message)
        for field, (number, kind) in its.items():
            simple = {"bool": 8, "string": 9}.get(kind)
            descriptor.field.add(
                name=field,
                number=number,
                label=1,
                type=simple or 11,
                type_name=None if simple else kind,
            )
    pool.Add(file)
    factory = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Config"))
    return text_format.Parse(text, factory())


def test_batching_is_what_tf_serving_parses(root):
    """Against BatchingParameters of servables/tensorflow/session_bundle_config.proto."""
    whole = ".google.protobuf.Int64Value"
    fields = {
        "max_batch_size": (1, whole),
        "batch_timeout_micros": (2, whole),
        "max_enqueued_batches": (3, whole),
        "num_batch_threads": (4, whole),
        "thread_pool_name": (5, ".google.protobuf.StringValue"),
        "pad_variable_length_inputs": (7, "bool"),
    }
    limits = BatchingConfig(max_batch_size=16, timeout_ms=2, threads=3, max_queue=40)
    found = parse_proto(deployment.batching(ServerConfig(batching=limits)), "batching", fields)
    assert found.max_batch_size.value == 16
    assert found.batch_timeout_micros.value == 2000
    assert found.max_enqueued_batches.value == 3  # 40 requests are two and a half batches
    assert found.num_batch_threads.value == 3
    assert not found.pad_variable_length_inputs


def test_monitoring_is_what_tf_serving_parses(root):
    """Against config/monitoring_config.proto; Prometheus looks where TF Serving answers."""
    text = deployment.render(root, ServerConfig())["config/monitoring.config"]
    messages = {
        "Config": {"prometheus_config": (1, ".t.PrometheusConfig")},
        "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    }
    found = parse_proto(text, "monitoring", messages).prometheus_config
    assert found.enable
    scrape = yaml.safe_load((FILES / "monitoring" / "prometheus.yml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["metrics_path"] == found.path
    assert job["static_configs"] == [{"targets": ["serving:8501"]}]


def interpolated(texts: dict[str, str], name: str) -> dict:
    """A compose file with the values of .env, as Compose reads it."""
    env = dict(line.split("=", 1) for line in texts[".env"].splitlines())
    return yaml.safe_load(re.sub(r"\$\{(\w+)\}", lambda match: env[match[1]], texts[name]))


def test_compose_is_hardened(root):
    config = ServerConfig(grpc_port=9500, rest_port=9501, poll_seconds=0.4, max_deadline=7.5)
    compose = interpolated(deployment.render(root, config), "compose.yaml")
    services = compose["services"]
    assert set(services) == {"serving", "gateway", "prometheus", "grafana"}
    for service in services.values():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits)
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for volume in service.get("volumes", []):
            if isinstance(volume, dict):
                assert volume["read_only"] is True
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"])  # never latest
    serving = services["serving"]
    assert int(serving["user"].split(":")[0]) > 0
    assert serving["image"] == "tensorflow/serving:2.21.0"
    models, config_files = serving["volumes"]
    assert (models["source"], models["target"]) == (str(root), "/models")
    assert (config_files["source"], config_files["target"]) == ("./config", "/config")
    assert "ports" not in serving  # only the gateway is reachable, which has the limits
    assert compose["networks"]["inside"] == {"internal": True}
    assert serving["networks"] == ["inside"]
    assert services["gateway"]["ports"] == ["127.0.0.1:9500:8500", "127.0.0.1:9501:8501"]
    assert services["gateway"]["depends_on"] == {"serving": {"condition": "service_healthy"}}
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in serving["command"])
    assert flags["model_config_file"] == "/models/models.config"
    assert flags["model_config_file_poll_wait_seconds"] == "1"
    assert flags["allow_version_labels_for_unavailable_models"] == "true"
    assert flags["enable_batching"] == "true"
    assert flags["rest_api_timeout_in_ms"] == "7500"
    for flag in ("batching_parameters_file", "monitoring_config_file"):
        assert (FILES / flags[flag].removeprefix("/")).is_file() or flags[flag].startswith(
            "/config/batching"
        )


def test_gpu_is_an_override(root):
    texts = deployment.render(root, ServerConfig())
    (service,) = interpolated(texts, "compose.gpu.yaml")["services"].values()
    assert service["image"] == "tensorflow/serving:2.21.0-gpu"
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_compose_itself_takes_the_files(root, tmp_path):
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no `docker compose` here")
    list(deployment.write(root, ServerConfig(), tmp_path / "deploy"))
    for files in (["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]):
        names = [part for name in files for part in ("-f", name)]
        result = subprocess.run(
            [docker, "compose", *names, "config", "--quiet"],
            cwd=tmp_path / "deploy",
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr


def test_prometheus_takes_model_and_version_from_the_path():
    scrape = yaml.safe_load((FILES / "monitoring" / "prometheus.yml").read_text())
    found = {}
    for rule in scrape["scrape_configs"][0]["metric_relabel_configs"]:
        if match := re.fullmatch(rule["regex"], "/models/cxrflow/1795380000"):
            found[rule["target_label"]] = match.expand(rule["replacement"].replace("$", "\\"))
    assert found == {"model_name": "cxrflow", "version": "1795380000"}


def test_grafana_finds_its_files(root):
    texts = deployment.render(root, ServerConfig())
    (source,) = yaml.safe_load(texts["monitoring/grafana/datasources.yaml"])["datasources"]
    dashboard = json.loads(texts["monitoring/grafana/cxrflow.json"])
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load(texts["monitoring/grafana/dashboards.yaml"])["providers"]
    mounted = {
        volume["target"]: volume["source"]
        for volume in interpolated(texts, "compose.yaml")["services"]["grafana"]["volumes"]
        if isinstance(volume, dict)
    }
    assert mounted[f"{provider['options']['path']}/cxrflow.json"].endswith("cxrflow.json")
    assert all(path.removeprefix("./") in texts for path in mounted.values())


def test_writes_all_files_and_keeps_what_the_operator_set(root, tmp_path):
    to = tmp_path / "deploy"
    (tmp_path / "cert").write_text("certificate")
    (tmp_path / "key").write_text("key")
    config = ServerConfig(
        tls_certificate=str(tmp_path / "cert"), tls_key=str(tmp_path / "key"), host="0.0.0.0"
    )
    paths = list(deployment.write(root, config, to))
    assert {str(p.relative_to(to)) for p in paths if p.is_relative_to(to)} == {
        ".env",
        "compose.yaml",
        "compose.gpu.yaml",
        "config/batching.config",
        "config/healthcheck.sh",
        "config/monitoring.config",
        "monitoring/alerts.yml",
        "monitoring/grafana/cxrflow-gateway.json",
        "monitoring/grafana/cxrflow.json",
        "monitoring/grafana/dashboards.yaml",
        "monitoring/grafana/datasources.yaml",
        "monitoring/prometheus.yml",
        "nginx/key.pem",
        "nginx/nginx.conf",
        "nginx/server.pem",
    }
    assert paths[-1] == root / "models.config"
    assert [p.stat().st_mode & 0o777 for p in (to / ".env", to / "nginx" / "key.pem")] == [
        0o600
    ] * 2
    env = (to / ".env").read_text()
    assert "BIND=0.0.0.0\n" in env
    (to / ".env").write_text(re.sub("MEMORY=.*", "MEMORY=3g", env))
    list(deployment.write(root, ServerConfig(), to))
    again = (to / ".env").read_text()
    assert "MEMORY=3g\n" in again and "BIND=127.0.0.1\n" in again
    assert re.search("GRAFANA_PASSWORD=.*", env)[0] in again


def test_shows_all_files_and_no_key(root, tmp_path):
    config = ServerConfig(tls_certificate="cert.pem", tls_key="key.pem")
    shown = deployment.show(deployment.render(root, config))
    for name in (".env", "compose.yaml", "models.config", "nginx/nginx.conf"):
        assert f"# ---- {name} ----\n" in shown
    assert "ssl_certificate server.pem;" in shown


def test_what_is_refused(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CxrflowError, match="there is no model in"):
        deployment.render(tmp_path / "empty", ServerConfig())
    config = ServerConfig(tls_certificate=str(tmp_path / "missing"), tls_key="key")
    with pytest.raises(CxrflowError, match="missing: No such file"):
        list(deployment.write(root, config, tmp_path / "deploy"))
    (tmp_path / "file").touch()
    with pytest.raises(CxrflowError, match="file"):
        list(deployment.write(root, ServerConfig(), tmp_path / "file"))


# --- The gateway, in front of the embedded server -------------------------------------------------


@pytest.fixture(scope="module")
def nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not found:
        pytest.skip("no nginx here")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_models, push_version):
    from cxrflow.serving.server import running

    root = tmp_path_factory.mktemp("root")
    push_version(tiny_models[0.25], root / "tiny", 3)
    with running(root, ServerConfig(grpc_port=0, rest_port=0)) as server:
        yield server


@contextlib.contextmanager
def gateway(nginx: str, config: ServerConfig, server: object, folder: Path):
    """nginx with our file; yields its gRPC and REST ports."""
    grpc_port, rest_port, health_port = (free_port() for _ in range(3))
    addresses = deployment.Addresses(
        *(f"127.0.0.1:{port}" for port in (grpc_port, rest_port, health_port)),
        upstream_grpc=f"127.0.0.1:{server.grpc_port}",
        upstream_rest=f"127.0.0.1:{server.rest_port}",
    )
    path = folder / "nginx.conf"
    path.write_text(deployment.gateway(config, addresses).replace("/tmp/", f"{folder}/"))
    command = [nginx, "-c", str(path), "-p", str(folder), "-g", "daemon off;"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 10
        while not _healthy(health_port):
            assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.05)
        yield grpc_port, rest_port
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as response:
            return response.status == 200
    except OSError:
        return False


def predict_request(image: bytes):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    return request


@pytest.mark.tf
def test_the_gateway_limits_requests_and_denies_reloading(nginx, server, tmp_path):
    import grpc
    from tensorflow_serving.apis import (
        model_management_pb2,
        model_service_pb2_grpc,
        prediction_service_pb2_grpc,
    )

    from tests.serving.tiny import gray_png

    config = ServerConfig(max_message_bytes=200_000)
    with (
        gateway(nginx, config, server, tmp_path) as (grpc_port, rest_port),
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(predict_request(gray_png(51)))
        assert list(answer.outputs["probabilities"].float_val) == pytest.approx([0.2, 0.25])
        with pytest.raises(grpc.RpcError) as large:
            stub.Predict(predict_request(bytes(300_000)))
        assert large.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert large.value.details() == "the request is larger than 200000 bytes"
        with pytest.raises(grpc.RpcError) as reload:
            models = model_service_pb2_grpc.ModelServiceStub(channel)
            models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
        assert reload.value.code() == grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.RpcError) as unknown:  # the server's own errors come through
            stub.Predict(predict_request(b"text"))
        assert unknown.value.code() == grpc.StatusCode.INVALID_ARGUMENT

        url = f"http://127.0.0.1:{rest_port}"
        with urllib.request.urlopen(f"{url}/v1/models/tiny") as response:
            assert b"AVAILABLE" in response.read()
        for path, body, status in (
            ("/v1/models/tiny:predict", bytes(300_000), 413),
            ("/monitoring/prometheus/metrics", None, 404),  # for the inside only
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url + path, data=body)
            assert refused.value.code == status


@pytest.mark.tf
def test_the_gateway_says_when_the_server_is_down(nginx, tmp_path):
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    down = SimpleNamespace(grpc_port=free_port(), rest_port=free_port())
    with (
        gateway(nginx, ServerConfig(), down, tmp_path) as (grpc_port, _),
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(predict_request(b""), timeout=10)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.tf
def test_the_gateway_speaks_tls(nginx, server, tmp_path):
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from tests.serving.tiny import gray_png

    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl here")
    key, certificate = tmp_path / "key.pem", tmp_path / "server.pem"
    command = f"req -x509 -newkey rsa:2048 -nodes -days 1 -keyout {key} -out {certificate}"
    names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run([openssl, *command.split(), *names.split()], check=True, capture_output=True)
    config = ServerConfig(tls_certificate=str(certificate), tls_key=str(key))
    with gateway(nginx, config, server, tmp_path) as (grpc_port, rest_port):
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{grpc_port}", trusted) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(predict_request(gray_png(255)))
            assert list(answer.outputs["probabilities"].float_val) == pytest.approx([1, 0.25])
        with grpc.insecure_channel(f"localhost:{grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.Predict(predict_request(gray_png(255)), timeout=60)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        context = ssl.create_default_context(cafile=str(certificate))
        url = f"https://localhost:{rest_port}/v1/models/tiny"
        with urllib.request.urlopen(url, context=context) as response:
            assert response.status == 200

    # Clients must show a certificate: here the server's own, as its own CA.
    config = replace(config, tls_client_ca=str(certificate))
    shutil.copy(certificate, tmp_path / "client_ca.pem")
    known = grpc.ssl_channel_credentials(
        certificate.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    with gateway(nginx, config, server, tmp_path) as (grpc_port, _):
        for credentials, accepted in ((known, True), (trusted, False)):
            with grpc.secure_channel(f"localhost:{grpc_port}", credentials) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                if accepted:
                    assert stub.Predict(predict_request(gray_png(255))).outputs
                else:
                    with pytest.raises(grpc.RpcError) as refused:
                        stub.Predict(predict_request(gray_png(255)), timeout=60)
                    assert refused.value.code() != grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.tf
def test_healthcheck_asks_for_every_models_stable_version(server, tmp_path):
    def healthy(config: str, port: int) -> bool:
        path = tmp_path / "models.config"
        path.write_text(config)
        environment = {**os.environ, "MODELS_CONFIG": str(path), "REST_PORT": str(port)}
        script = FILES / "config" / "healthcheck.sh"
        return not subprocess.run(["bash", script], env=environment, capture_output=True).returncode

    pushed = models_config(server.manager.root)
    assert healthy(pushed, server.rest_port)
    assert not healthy(pushed + pushed.replace('"tiny"', '"other"'), server.rest_port)
    assert not healthy("model_config_list {\n}\n", server.rest_port)
    assert not healthy(pushed, free_port())


def test_the_gateway_asks_again_where_its_upstream_is():
    text = deployment.gateway(ServerConfig())
    assert "resolver 127.0.0.11 valid=10s ipv6=off;" in text
    for upstream in ("grpc_serving", "rest_serving"):  # `resolve` needs a zone
        block = re.search(rf"upstream {upstream} {{(.*?)}}", text, re.DOTALL)[1]
        assert f"zone {upstream} 64k;" in block
        assert re.search(r"server serving:850[01] resolve;", block)
    fixed = deployment.Addresses(upstream_grpc="10.1.2.3:8500", upstream_rest="[::1]:8501")
    text = deployment.gateway(ServerConfig(), fixed)
    assert "resolve" not in re.sub("#.*", "", text)  # an address needs none


@pytest.mark.tf
def test_the_gateway_limits_what_one_address_asks(nginx, server, tmp_path):
    """Above the rate REST answers 503 and gRPC UNAVAILABLE, which clients try again."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from tests.serving.tiny import gray_png

    config = ServerConfig(gateway=GatewayConfig(client_requests=3, client_rate=1))

    def status(port: int) -> int:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/tiny").status
        except urllib.error.HTTPError as error:
            assert "asks for too much" in json.loads(error.read())["error"]
            return error.code

    with gateway(nginx, config, server, tmp_path) as (_, rest_port):
        found = [status(rest_port) for _ in range(8)]
        assert found[:3] == [200] * 3 and 503 in found
    with (
        gateway(nginx, config, server, tmp_path) as (grpc_port, _),
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        codes = [
            stub.Predict.future(predict_request(gray_png(1)), timeout=20).code() for _ in range(12)
        ]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_the_command_prints_and_writes(root, tmp_path):
    from typer.testing import CliRunner

    from cxrflow.pipeline.cli import app

    def serve(*args: str) -> str:
        result = CliRunner().invoke(app, ["serve", "--root", str(root), *args])
        assert result.exit_code == 0, result.output
        return result.output

    printed = serve("--print-config", "--port", "9500")
    assert "GRPC_PORT=9500" in printed and "tensorflow/serving:" in printed
    assert not (root / "models.config").exists()
    written = serve("--print-config", "--to", str(tmp_path / "deploy"))
    assert str(tmp_path / "deploy" / "compose.yaml") in written and "docker compose" in written
    assert (root / "models.config").is_file()
