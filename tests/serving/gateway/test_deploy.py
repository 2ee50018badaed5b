"""The gateway's files for systemd and Docker Compose, and the settings beside them."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from cxrflow.pipeline.cli import app
from cxrflow.serving.gateway.settings import read_gateway_config
from tests.support.systemd import read_unit

REPO = Path(__file__).parents[3]
DEPLOY = REPO / "serving" / "deploy"
OPTIONS = {
    name for p in get_command(app).commands["gateway"].params for name in p.opts
}  # fmt: skip


def unit() -> configparser.ConfigParser:
    return read_unit(DEPLOY / "cxrflow-gateway.service")


def test_the_settings_are_taken():
    config = read_gateway_config(DEPLOY / "gateway.yaml")
    assert config.peers and config.destinations


def test_the_unit_fits_the_settings():
    service, config = unit()["Service"], read_gateway_config(DEPLOY / "gateway.yaml")
    words = shlex.split(service["ExecStart"])
    assert words[1] == "gateway"
    assert {word for word in words if word.startswith("--")} <= OPTIONS
    assert config.queue.startswith(f"/var/lib/{service['StateDirectory']}/")
    assert config.audit.startswith(f"/var/log/{service['LogsDirectory']}/")
    assert int(service["TimeoutStopSec"]) > config.ask.deadline


def test_systemd_takes_the_unit(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("no systemd-analyze here")
    text = (DEPLOY / "cxrflow-gateway.service").read_text()
    path = tmp_path / "cxrflow-gateway.service"
    text = text.replace("/opt/cxrflow/.venv/bin/cxrflow", sys.executable)
    path.write_text(text.replace("file:/opt/cxrflow/docs/gateway.md", "man:true(1)"))
    found = subprocess.run(
        [analyze, "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    assert not [line for line in found.stderr.splitlines() if "cxrflow-gateway" in line]


def test_compose_starts_what_there_is():
    compose = yaml.safe_load((DEPLOY / "gateway.compose.yaml").read_text())
    gateway, config = compose["services"]["gateway"], read_gateway_config(DEPLOY / "gateway.yaml")
    assert gateway["entrypoint"] == ["cxrflow", "gateway"]
    assert {word for word in gateway["command"] if word.startswith("--")} <= OPTIONS
    assert f"--target server --tag {gateway['image']} " in (REPO / "Dockerfile").read_text()
    targets = {volume["target"] for volume in gateway["volumes"]}
    for path in (config.queue, config.audit, config.pseudonym_key):
        assert any(path.startswith(target) for target in targets), path
    assert gateway["ports"] == [f"{config.port}:{config.port}"]
    assert str(config.port) in gateway["healthcheck"]["test"]
    for service in compose["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_the_page_names_settings_that_there_are():
    page = (REPO / "docs" / "gateway.md").read_text()
    config = read_gateway_config(DEPLOY / "gateway.yaml")
    for section, field in re.findall(r"`(collect|retry|limits|ask)\.(\w+)`", page):
        assert hasattr(getattr(config, section), field), field


def test_compose_itself_takes_the_file(tmp_path):
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no `docker compose` here")
    found = subprocess.run(
        [docker, "compose", "--file", DEPLOY / "gateway.compose.yaml", "config"],
        env={"MODELS": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
