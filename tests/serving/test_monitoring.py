"""The dashboard and the alerts: what they ask for is there, in both servers."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import promql_parser as promql
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cxrflow.schema.audit import Decision
from cxrflow.serving.gateway.metrics import Metrics
from cxrflow.serving.gateway.queue import Queue
from cxrflow.serving.tf_serving import deployment
from tests.serving.tiny import gray_png

MONITORING = Path(deployment.__file__).parent / "files" / "monitoring"

# What TF Serving 2.x exports: name -> labels, of histograms without the suffix. From its sources:
# servables/tensorflow/util.cc, batching/batching_session.cc, saved_model_warmup_util.cc, and
# TensorFlow's cc/saved_model/loader.cc.
TF_SERVING = {
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:serving:request_latency": {"model_name", "API", "entrypoint"},
    ":tensorflow:serving:runtime_latency": {"model_name", "API", "runtime"},
    ":tensorflow:serving:batching_session:queuing_latency": {"thread_pool_name"},
    ":tensorflow:serving:batching_session:wrapped_run_count": set(),
    ":tensorflow:serving:model_warmup_latency": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_latency": {"model_path"},
}
# About TF Serving's container, since it tells nothing of its memory itself; from cAdvisor's
# docs/storage/prometheus.md.
CONTAINERS = {"container_memory_working_set_bytes": {"image", "container", "pod", "namespace"}}
# What Prometheus itself adds to all that it scrapes.
SCRAPED = {"instance", "job"}
# And what prometheus.yml makes of model_path.
FROM_PATH = {"model_name", "version"}

Selector = promql.VectorSelector


def dashboard(name: str = "cxrflow") -> dict:
    return json.loads((MONITORING / "grafana" / f"{name}.json").read_text())


def panels(name: str = "cxrflow") -> dict[str, str]:
    """Every query by panel and letter, with Grafana's interval filled in."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
        for panel in dashboard(name)["panels"]
        for target in panel["targets"]
    }


def rules() -> list[dict]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in rules()}


def alternatives(expression: promql.Expr) -> list[promql.Expr]:
    """What stands between the outermost `or`s."""
    while isinstance(expression, promql.ParenExpr):
        expression = expression.expr
    if isinstance(expression, promql.BinaryExpr) and str(expression.op) == "or":
        return [*alternatives(expression.lhs), *alternatives(expression.rhs)]
    if isinstance(expression, promql.BinaryExpr) and isinstance(
        expression.rhs, promql.NumberLiteral
    ):  # a or b, times or compared with a number
        return alternatives(expression.lhs)
    return [expression]


def selectors(expression: promql.Expr) -> list[Selector]:
    found: list[Selector] = []

    def visit(node: object) -> bool:
        if isinstance(node, Selector):
            found.append(node)
        if isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)
        return True

    promql.walk(expression, pre_visit=visit)
    return list({repr(selector): selector for selector in found}.values())


def labels_of(name: str, known: dict[str, set[str]]) -> set[str] | None:
    """A metric's labels; None if it isn't there."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    for each in (name, base):
        if each in known:
            return known[each] | ({"le"} if name.endswith("_bucket") else set())
    return None


def has_data(expression: promql.Expr, known: dict[str, set[str]]) -> bool:
    """Whether all that an expression asks for is there, with the labels it asks by."""
    asked = selectors(expression)
    for selector in asked:
        labels = labels_of(selector.name, known)
        if labels is None or not {m.name for m in selector.matchers.matchers} <= labels | SCRAPED:
            return False
    return bool(asked)


TF_SERVING_AS_SCRAPED = {
    name: labels | (FROM_PATH if "model_path" in labels else set())
    for name, labels in TF_SERVING.items()
} | CONTAINERS
PROMETHEUS = {"up": SCRAPED}
# What TensorFlow Serving can't tell: nothing of its answers, and it asks no second version.
EMBEDDED_ONLY = ("cxrflow_serving_recent_", "cxrflow_serving_shadow_")


def labels_and_values(page: str) -> tuple[dict[str, set[str]], dict[tuple, float]]:
    """Labels by name, and values by name and labels, of a page for Prometheus."""
    found: dict[str, set[str]] = {}
    values = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
            values[(sample.name, *sorted(sample.labels.items()))] = sample.value
    return found, values


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> dict[str, set[str]]:
    """Labels by name of what a gateway's page has."""
    metrics = Metrics(Queue(tmp_path_factory.mktemp("queue")))
    for counter, label in ((metrics.sent, "to"), (metrics.failed_sends, "to")):
        counter.labels(**{label: "archive"})
    metrics.decided(Decision("", "", "", "", "", "", "", answer="findings"))
    return labels_and_values(generate_latest(metrics.registry).decode())[0]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, tiny_models, push_version) -> dict[str, set[str]]:
    """Labels by name of what the embedded server's page has after a few requests."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from cxrflow.serving.rest import METRICS_PATH
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    root = tmp_path_factory.mktemp("monitored")
    push_version(tiny_models[0.25], root / "tiny", 3)
    broken = push_version(tiny_models[0.75], root / "tiny", 7)
    (broken / "saved_model.pb").write_bytes(b"other")
    with running(root, ServerConfig(grpc_port=0, rest_port=0)) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "tiny"
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([gray_png(1)]))
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
        url = f"http://127.0.0.1:{server.rest_port}{METRICS_PATH}"
        text = urllib.request.urlopen(url).read().decode()
    found, values = labels_and_values(text)
    assert values[("cxrflow_serving_failed_loads_total", ("model_name", "tiny"))] == 1
    assert values[("cxrflow_serving_models_served",)] == 1
    assert values[("process_resident_memory_bytes",)] > 50e6
    run = ("API", "Predict"), ("model_name", "tiny"), ("runtime", "TF1")
    assert values[(":tensorflow:serving:runtime_latency_count", *run)] == 1
    for step in ("load", "warm-up"):
        labels = ("model_name", "tiny"), ("step", step), ("version", "3")
        assert values[("cxrflow_serving_load_seconds", *labels)] > 0
    size = ("entrypoint", "gRPC"), ("model_name", "tiny")
    assert values[("cxrflow_serving_request_bytes_sum", *size)] == request.ByteSize()
    for family in told_beside(tmp_path_factory.mktemp("shadow")):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def told_beside(folder: Path) -> Iterator[Metric]:
    """By a model that scores how odd an image is, and by a second version in the background."""
    from cxrflow.serving.recent import Recent
    from cxrflow.serving.settings import ServerConfig, ShadowConfig
    from cxrflow.serving.shadow.shadow import FULL, Shadow

    info = json.dumps({"classes": ["A"], "out_of_distribution": {"threshold": 1.0}})
    recent, version = Recent(10), SimpleNamespace(model="m", number=1, classes=("A",), info=info)
    one = np.array([0.5])
    recent.answered(version, {"probabilities": one[None], "out_of_distribution": one})
    yield from recent.metrics()
    config = ServerConfig(shadow=ShadowConfig(label="canary", log=str(folder / "log")))
    shadow = Shadow(SimpleNamespace(), config)
    shadow.asked["m"], shadow.dropped["m", FULL] = 1, 1
    yield from shadow.metrics()
    shadow.close()


def questions() -> Iterator[tuple[str, str]]:
    yield from panels().items()
    yield from (each for each in alerts().items() if not each[0].startswith("CxrflowGateway"))


def questions_to_gateways() -> Iterator[tuple[str, str]]:
    yield from panels("cxrflow-gateway").items()
    yield from (each for each in alerts().items() if each[0].startswith("CxrflowGateway"))


@pytest.mark.tf
@pytest.mark.parametrize("name, query", questions())
def test_what_is_asked_for_is_in_the_embedded_servers_page(embedded, gateway, name, query):
    either = alternatives(promql.parse(query))
    known = embedded | PROMETHEUS
    if name == "CxrflowNoModel":  # `unless` what only the others have is no loss
        known = known | gateway
    assert any(has_data(each, known) for each in either), query


@pytest.mark.parametrize("name, query", questions_to_gateways())
def test_what_is_asked_for_is_in_a_gateways_page(gateway, name, query):
    for selector in selectors(promql.parse(query)):
        labels = labels_of(selector.name, gateway)
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert labels is not None and asked <= labels | SCRAPED, selector


@pytest.mark.parametrize("name, query", questions())
def test_what_is_asked_for_is_exported_by_tf_serving(gateway, name, query):
    if any(prefix in query for prefix in EMBEDDED_ONLY):
        return
    either = alternatives(promql.parse(query))
    known = TF_SERVING_AS_SCRAPED | PROMETHEUS
    if name == "CxrflowNoModel":  # `unless` what only the others have is no loss
        known = known | gateway | {"cxrflow_serving_models_served": SCRAPED}
    assert any(has_data(each, known) for each in either), query


@pytest.mark.tf
@pytest.mark.parametrize("name, query", questions())
def test_nothing_else_is_asked_for(embedded, gateway, name, query):
    """A name that neither server nor a gateway has is a slip of the pen."""
    for selector in selectors(promql.parse(query)):
        labels = [
            labels_of(selector.name, known)
            for known in (embedded, gateway, TF_SERVING_AS_SCRAPED, PROMETHEUS)
        ]
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert any(each is not None and asked <= each | SCRAPED for each in labels), selector


def test_what_is_asked_for_is_kept_by_prometheus():
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    keep = config["scrape_configs"][0]["metric_relabel_configs"][0]
    for _, query in questions():
        for selector in selectors(promql.parse(query)):
            gateways = selector.name.startswith("cxrflow_gateway_")  # a job of their own
            if selector.name not in CONTAINERS | PROMETHEUS and not gateways:
                assert re.fullmatch(keep["regex"], selector.name), selector.name


def test_prometheus_takes_its_configuration(tmp_path):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here: it is in Debian's package prometheus")
    text = (MONITORING / "prometheus.yml").read_text()
    version = subprocess.run([promtool, "--version"], capture_output=True, text=True)
    if re.search(r"version 2\.", version.stdout + version.stderr):  # as the file's head says
        text = re.sub(r".*fallback_scrape_protocol: .*\n", "", text)
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    command = [promtool, "check", "config", tmp_path / "prometheus.yml"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0 and f"{len(rules())} rules found" in found.stdout, (
        found.stdout + found.stderr
    )


@pytest.mark.parametrize("name", ["cxrflow", "cxrflow-gateway"])
def test_every_panel_says_what_it_shows_and_none_lies_on_another(name):
    boxes = set()
    assert dashboard(name)["uid"] != dashboard("cxrflow-gateway")["uid"] or name != "cxrflow"
    for panel in dashboard(name)["panels"]:
        assert panel["title"] and panel["description"]
        at = panel["gridPos"]
        box = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not boxes & box and at["x"] + at["w"] <= 24, panel["title"]
        boxes |= box


# --- Alerts --------------------------------------------------------------------------------------

EMBEDDED, TF = '{instance="a", job="cxrflow"}', '{instance="a", job="tf_serving"}'


def labelled(name: str, where: str, **labels: str) -> str:
    more = "".join(f', {key}="{value}"' for key, value in labels.items())
    return f"{name}{where[:-1]}{more}}}"


REQUESTS = ":tensorflow:serving:request_count"
ATTEMPTS = ":tensorflow:cc:saved_model:load_attempt_count"
FAILED = "cxrflow_serving_failed_loads_total"
LATENCY = ":tensorflow:serving:request_latency_bucket"


def slow(where: str, below: int) -> dict[str, str]:
    """100 requests a minute; `below` of them within 1 s, all within 5 s."""
    asked = {"model_name": "m", "API": "Predict", "entrypoint": "gRPC"}
    return {
        labelled(LATENCY, where, le="1e6", **asked): f"0+{below}x30",
        labelled(LATENCY, where, le="5e6", **asked): "0+100x30",
        labelled(LATENCY, where, le="+Inf", **asked): "0+100x30",
    }


HEALTHY = {f"up{EMBEDDED}": "1x30", f"cxrflow_serving_models_served{EMBEDDED}": "1x30"}
LOADED = {
    f"up{TF}": "1x30",
    labelled(ATTEMPTS, TF, status="success", model_name="m", version="1"): "1x30",
}
GATEWAY = '{instance="a", job="cxrflow_gateway"}'


def gateways(name: str, **labels: str) -> str:
    return labelled(f"cxrflow_gateway_{name}", GATEWAY, **labels)


def studies(state: str) -> str:
    return gateways("studies", state=state)


def answers(odd: str, others: str) -> dict[str, str]:
    by_answer = {"out_of_distribution": odd, "findings": others}
    return {gateways("answers_total", answer=name): n for name, n in by_answer.items()}


def recent(scores: str, images: str) -> dict[str, str]:
    of = {"model_name": "m", "version": "1"}
    name = "cxrflow_serving_recent_"
    return {
        labelled(f"{name}mean_score", EMBEDDED, **of, class_name="Mass"): scores,
        labelled(f"{name}images", EMBEDDED, **of): images,
    }


def odd(share: str, images: str) -> dict[str, str]:
    of = {"model_name": "m", "version": "1"}
    found = {"ood_share": share, "images": images}
    return {labelled(f"cxrflow_serving_recent_{n}", EMBEDDED, **of): v for n, v in found.items()}


def shadow(changed: str, images: str) -> dict[str, str]:
    found = {"changed_images_total": changed, "images_total": images}
    return {
        labelled(f"cxrflow_serving_shadow_{name}", EMBEDDED, model_name="m"): value
        for name, value in found.items()
    }


# Alert, minute, series by the minute, whether it is on.
CASES = [
    ("CxrflowDown", 10, {f"up{EMBEDDED}": "1x5 0x25"}, True),
    ("CxrflowDown", 10, HEALTHY, False),
    ("CxrflowDown", 10, {'up{instance="b", job="other"}': "0x30"}, False),
    ("CxrflowNoModel", 10, HEALTHY, False),
    ("CxrflowNoModel", 10, LOADED, False),
    ("CxrflowNoModel", 10, HEALTHY | {f"cxrflow_serving_models_served{EMBEDDED}": "0x30"}, True),
    ("CxrflowNoModel", 10, {f"up{TF}": "1x30"}, True),
    ("CxrflowLoadFailed", 10, {labelled(FAILED, EMBEDDED, model_name="m"): "0x30"}, False),
    ("CxrflowLoadFailed", 10, {labelled(FAILED, EMBEDDED, model_name="m"): "0x7 1x20"}, True),
    ("CxrflowLoadFailed", 2, {labelled(FAILED, EMBEDDED, model_name="m"): "1x30"}, True),
    ("CxrflowLoadFailed", 28, {labelled(FAILED, EMBEDDED, model_name="m"): "1x30"}, False),
    ("CxrflowLoadFailed", 9, {labelled(ATTEMPTS, TF, status="fail"): "_x5 1x20"}, True),
    ("CxrflowLoadFailed", 10, LOADED, False),
    (
        "CxrflowErrors",
        20,
        {
            labelled(REQUESTS, TF, status="OK"): "0+90x30",
            labelled(REQUESTS, TF, status="INTERNAL"): "0+10x30",
        },
        True,
    ),
    (
        "CxrflowErrors",
        20,
        {
            labelled(REQUESTS, TF, status="OK"): "0+50x30",
            labelled(REQUESTS, TF, status="INVALID_ARGUMENT"): "0+50x30",
        },
        False,
    ),
    ("CxrflowSlow", 25, slow(EMBEDDED, 90), True),
    ("CxrflowSlow", 25, slow(EMBEDDED, 100), False),
    ("CxrflowQueueFull", 20, {labelled(REQUESTS, TF, status="UNAVAILABLE"): "0+1x30"}, True),
    ("CxrflowQueueFull", 20, {labelled(REQUESTS, TF, status="OK"): "0+1x30"}, False),
    (
        "CxrflowMemory",
        20,
        HEALTHY | {f"process_resident_memory_bytes{EMBEDDED}": "7000000000x30"},
        True,
    ),
    ("CxrflowMemory", 20, {'process_resident_memory_bytes{job="other"}': "7000000000x30"}, False),
    ("CxrflowNoModel", 10, {f"up{GATEWAY}": "1x30", studies("asked"): "0x30"}, False),
    ("CxrflowScoresMoved", 3000, recent("0.1x2800 0.3x200", "1000x3000"), True),
    ("CxrflowScoresMoved", 3000, recent("0.1x2800 0.3x200", "100x3000"), False),
    ("CxrflowScoresMoved", 3000, recent("0.1x2800 0.15x200", "1000x3000"), False),
    ("CxrflowOddImages", 20, odd("0.3x30", "150x30"), True),
    ("CxrflowOddImages", 20, odd("0.3x30", "50x30"), False),
    ("CxrflowOddImages", 20, odd("0.1x30", "150x30"), False),
    ("CxrflowOddImages", 60, answers("0+2x60", "0+6x60"), True),
    ("CxrflowOddImages", 60, answers("0+1x60", "0+9x60"), False),
    ("CxrflowShadowDiffers", 60, shadow("0+3x60", "0+10x60"), True),
    ("CxrflowShadowDiffers", 60, shadow("0+1x60", "0+10x60"), False),
    ("CxrflowGatewayWaits", 20, {gateways("oldest_seconds", state="asked"): "300+60x30"}, True),
    ("CxrflowGatewayWaits", 20, {gateways("oldest_seconds", state="failed"): "9999x30"}, False),
    ("CxrflowGatewaySends", 30, {gateways("failed_sends_total", to="a"): "0+1x40"}, True),
    ("CxrflowGatewaySends", 30, {gateways("failed_sends_total", to="a"): "5x40"}, False),
    ("CxrflowGatewayFailed", 30, {gateways("failed_studies_total"): "0x20 1x20"}, True),
    ("CxrflowGatewayFailed", 30, {gateways("failed_studies_total"): "3x40"}, False),
    ("CxrflowGatewayRefuses", 30, {gateways("refused_images_total"): "0+2x40"}, True),
    ("CxrflowGatewayRefuses", 30, {gateways("refused_images_total"): "7x40"}, False),
]


def test_alerts_are_whole_and_all_tried():
    for rule in rules():
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        promql.parse(rule["expr"])
    tried = {(name, on) for name, _, _, on in CASES}
    assert tried == {(name, on) for name in alerts() for on in (True, False)}


@pytest.mark.slow
def test_alerts_come_when_they_should_and_only_then(tmp_path):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here: it is in Debian's package prometheus")
    tests = [
        {
            "name": f"{i} {name}",
            "interval": "1m",
            "input_series": [{"series": s, "values": v} for s, v in series.items()],
            # Which alerts, without the labels and texts that promtool would compare too.
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": "{}", "value": int(on)}],
                }
            ],
        }
        for i, (name, minute, series, on) in enumerate(CASES)
    ]
    path = tmp_path / "tests.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(MONITORING / "alerts.yml")],
                "evaluation_interval": "1m",
                "tests": tests,
            }
        )
    )
    found = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
