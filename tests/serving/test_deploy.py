"""The files for systemd, Kubernetes and KServe, against those tools' own schemas."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from cxrflow.serving.settings import ServerConfig, read_config
from tests.support.systemd import read_unit

REPO = Path(__file__).parents[2]
DEPLOY = REPO / "serving" / "deploy"


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def strict(value: object, kind: str, at: str = "") -> object:
    """A value as a model of Kubernetes' OpenAPI schema.

    Raises for a field that there isn't, a required one that is missing, and a wrong type.
    """
    from kubernetes import client

    if match := re.fullmatch(r"list\[(.*)\]", kind):
        assert isinstance(value, list), f"{at} is no list"
        return [strict(each, match[1], f"{at}[{i}]") for i, each in enumerate(value)]
    if match := re.fullmatch(r"dict\(str, (.*)\)", kind):
        assert isinstance(value, dict), f"{at} is no object"
        return {key: strict(each, match[1], f"{at}.{key}") for key, each in value.items()}
    plain = {"str": str, "int": int, "bool": bool, "float": float, "object": object}
    if kind in plain:
        assert isinstance(value, plain[kind]), f"{at} is no {kind}"
        assert kind != "int" or not isinstance(value, bool), f"{at} is no int"
        return value
    model = getattr(client, kind)
    assert isinstance(value, dict), f"{at} is no object"
    names = {name: field for field, name in model.attribute_map.items()}
    assert set(value) <= set(names), f"{at}: {kind} has no {set(value) - set(names)}"
    fields = {
        names[name]: strict(each, model.openapi_types[names[name]], f"{at}.{name}")
        for name, each in value.items()
    }
    return model(**fields)


KINDS = {
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("v1", "Service"): "V1Service",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "V2HorizontalPodAutoscaler",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
}


def test_kubernetes_takes_each_object():
    found = [(each["apiVersion"], each["kind"]) for each in documents("kubernetes.yaml")]
    assert found == list(KINDS)
    for each in documents("kubernetes.yaml"):
        strict(each, KINDS[each["apiVersion"], each["kind"]], each["kind"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["spec"].update(replica=2),  # no such field
        lambda d: d["spec"].pop("selector"),  # required
        lambda d: d["spec"]["template"]["spec"].update(containers={}),  # no list
        lambda d: d["spec"]["template"]["spec"]["containers"][0].pop("name"),
        lambda d: d["spec"].update(replicas="2"),
    ],
)
def test_the_check_itself_finds_mistakes(spoil):
    deployment = documents("kubernetes.yaml")[1]
    spoil(deployment)
    with pytest.raises((AssertionError, ValueError)):
        strict(deployment, "V1Deployment")


def test_kubernetes_objects_name_each_other(tmp_path):
    config, deployment, service, scaler, budget = documents("kubernetes.yaml")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    (server,) = template["spec"]["containers"]
    ports = {port["name"] for port in server["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[name]["httpGet"]["port"] in ports
    mounted = {mount["name"] for mount in server["volumeMounts"]}
    assert mounted == {volume["name"] for volume in template["spec"]["volumes"]}
    assert template["metadata"]["annotations"]["prometheus.io/port"] == "8501"

    path = tmp_path / "server.yaml"  # and the settings are ours
    path.write_text(config["data"]["server.yaml"])
    settings = read_config(path)
    assert settings.notice_seconds < settings.drain_seconds
    assert settings.drain_seconds < template["spec"]["terminationGracePeriodSeconds"]
    waits = server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"]
    assert waits > ServerConfig().load_seconds


def test_probes_ask_for_what_the_server_answers():
    """The paths, as serving/rest.py has them."""
    from types import SimpleNamespace

    from starlette.routing import Match, Route

    routes = (REPO / "serving" / "rest.py").read_text()
    server = documents("kubernetes.yaml")[1]["spec"]["template"]["spec"]["containers"][0]
    kserve = documents("kserve.yaml")[0]["spec"]["predictor"]["containers"][0]
    paths = [
        *(server[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness")),
        server["livenessProbe"]["httpGet"]["path"],
        kserve["readinessProbe"]["httpGet"]["path"],
    ]
    known = [*re.findall(r'Route\("(/[^"]*)"', routes), "/v2/models/{model}/ready"]
    for path in paths:
        scope = {"type": "http", "path": path, "method": "GET"}
        assert any(
            Route(each, SimpleNamespace(), methods=["GET"]).matches(scope)[0] == Match.FULL
            for each in known
        ), path


# serving.kserve.io/v1beta1, from KServe's config/crd/full/serving.kserve.io_inferenceservices.yaml:
# the fields that we use and their types; a predictor also takes a pod's fields.
KSERVE = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "serving.kserve.io/v1beta1"},
        "kind": {"const": "InferenceService"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["predictor"],
            "additionalProperties": False,
            "properties": {
                "predictor": {
                    "type": "object",
                    "additionalProperties": False,
                    "oneOf": [{"required": ["model"]}, {"required": ["containers"]}],
                    "properties": {
                        "minReplicas": {"type": "integer", "minimum": 0},
                        "maxReplicas": {"type": "integer", "minimum": 1},
                        "timeout": {"type": "integer"},
                        "containers": {"type": "array", "minItems": 1},
                        "volumes": {"type": "array"},
                        "model": {
                            "type": "object",
                            "required": ["modelFormat"],
                            "additionalProperties": False,
                            "properties": {
                                "modelFormat": {
                                    "type": "object",
                                    "required": ["name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "name": {"const": "tensorflow"},
                                        "version": {"type": "string"},
                                    },
                                },
                                "runtime": {"type": "string"},
                                "runtimeVersion": {"type": "string"},
                                "protocolVersion": {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
                                "storageUri": {"type": "string", "pattern": "^pvc://[^/]+/.+"},
                                "resources": {"type": "object"},
                            },
                        },
                    },
                }
            },
        },
    },
}


def test_kserve_takes_each_service():
    for service in documents("kserve.yaml"):
        jsonschema.validate(service, KSERVE)
        predictor = service["spec"]["predictor"]
        for container in predictor.get("containers", []):
            strict(container, "V1Container", "containers")
            # KServe finds its container by this name, and Knative takes the port named http1.
            assert container["name"] == "kserve-container"
            assert [port["name"] for port in container["ports"]] == ["http1"]
        for volume in predictor.get("volumes", []):
            strict(volume, "V1Volume", "volumes")
        strict(predictor.get("model", {}).get("resources", {}), "V1ResourceRequirements")


def test_images_and_arguments_are_those_of_the_command():
    """Every option that the files give is one of `cxrflow serve`."""
    from typer.main import get_command

    from cxrflow.pipeline.cli import app

    serve = get_command(app).commands["serve"]
    options = {name for parameter in serve.params for name in parameter.opts}
    deployment = documents("kubernetes.yaml")[1]["spec"]["template"]["spec"]["containers"][0]
    kserve = documents("kserve.yaml")[0]["spec"]["predictor"]["containers"][0]
    dockerfile = (REPO / "Dockerfile").read_text()
    (server,) = re.findall(r"^FROM environment AS server\n(.*?)^$", dockerfile, re.M | re.DOTALL)
    assert 'ENTRYPOINT ["cxrflow", "serve"]' in server
    given = [
        deployment["args"],
        kserve["args"],
        yaml.safe_load(re.search(r"^CMD (.*)$", server, re.MULTILINE)[1]),
        shlex.split(unit()["Service"]["ExecStart"])[2:],
    ]
    for arguments in given:
        assert {each for each in arguments if each.startswith("--")} <= options
    assert deployment["image"] == kserve["image"]
    assert f"--target server --tag {kserve['image']} " in dockerfile


def unit() -> configparser.ConfigParser:
    return read_unit(DEPLOY / "cxrflow.service")


def test_the_unit_is_whole():
    parsed = unit()
    assert parsed.sections() == ["Unit", "Service", "Install"]
    service = parsed["Service"]
    assert shlex.split(service["ExecStart"])[0].startswith("/")
    assert int(service["TimeoutStopSec"]) > ServerConfig().drain_seconds
    assert service["ReadWritePaths"] in service["ExecStart"]
    assert service["LogsDirectory"] in service["ExecStart"]


def test_systemd_takes_the_unit(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("no systemd-analyze here")
    text = (DEPLOY / "cxrflow.service").read_text()
    path = tmp_path / "cxrflow.service"
    # What isn't on this machine.
    text = text.replace("/opt/cxrflow/.venv/bin/cxrflow", sys.executable)
    path.write_text(text.replace("file:/opt/cxrflow/docs/operations.md", "man:true(1)"))
    found = subprocess.run([analyze, "verify", "--man=no", path], capture_output=True, text=True)
    complaints = [line for line in found.stderr.splitlines() if "cxrflow" in line]
    assert not complaints
    path.write_text(text.replace("Restart=always", "Restart=perhaps"))
    found = subprocess.run([analyze, "verify", "--man=no", path], capture_output=True, text=True)
    assert "perhaps" in found.stderr  # it does look


def test_the_operations_page_names_what_is_there():
    page = (REPO / "docs" / "operations.md").read_text()
    for target in re.findall(r"\]\((\.\./[^)]+)\)", page):
        assert (REPO / "docs" / target).exists(), target
    files = (REPO / "serving" / name for name in ("metrics.py", "recent.py", "shadow/shadow.py"))
    metrics = "".join(file.read_text() for file in files)
    for name in re.findall(r"cxrflow_serving_\w+", page):
        assert name.removesuffix("_total") in metrics, name
    settings = page[page.index("## Settings") : page.index("## Health")]
    for names in re.findall(r"^\| (`.*?) \|", settings, re.MULTILINE):
        parent = ServerConfig()
        for name in re.findall(r"`([^`]+)`", names):
            *group, field = name.split(".")
            if group and group[0]:
                parent = getattr(ServerConfig(), group[0])
            assert hasattr(parent, field), name
    (table,) = [part for part in page.split("\n\n") if part.startswith("| alert |")]
    rules = (REPO / "serving/tf_serving/files/monitoring/alerts.yml").read_text()
    assert set(re.findall(r"Cxrflow\w+", table)) == set(re.findall(r"alert: (\w+)", rules))
