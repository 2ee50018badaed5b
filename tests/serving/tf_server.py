"""The real TF Serving on a serving root, where this machine has one: a binary, or Docker."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.tf_serving.deployment import render
from tests.support.ports import free_port

BINARY = "tensorflow_model_server"
START_SECONDS = 90


class TfServing:
    """Its ports. A test that looks into the embedded server skips here."""

    def __init__(self, grpc_port: int, rest_port: int):
        self.grpc_port, self.rest_port = grpc_port, rest_port

    def __getattr__(self, name: str) -> None:
        if not name.startswith("_"):
            pytest.skip(f"looks into the embedded server's {name}")
        raise AttributeError(name)


@contextmanager
def running_tf_serving(root: Path, config: ServerConfig, work: Path) -> Iterator[TfServing]:
    """TF Serving with the flags and files of our Compose deployment; skips where there is none."""
    texts = render(root, config)
    env = dict(line.split("=", 1) for line in texts[".env"].splitlines())
    compose = re.sub(r"\$\{(\w+)\}", lambda match: env[match[1]], texts["compose.yaml"])
    service = yaml.safe_load(compose)["services"]["serving"]
    for name in ("config/batching.config", "config/monitoring.config", "models.config"):
        path = work / Path(name).name
        path.write_text(texts[name])
    grpc_port, rest_port = free_port(), free_port()
    if binary := shutil.which(BINARY):
        config_file = work / "models.config"
        config_file.write_text(config_file.read_text().replace('"/models/', f'"{root}/'))
        flags = [
            flag.replace("/models/models.config", str(config_file)).replace("/config", str(work))
            for flag in service["command"]
        ]
        flags += [f"--port={grpc_port}", f"--rest_api_port={rest_port}"]  # the last one counts
        command = [binary, *flags]
    else:
        docker = _docker(service["image"])
        shutil.copy(work / "models.config", root)
        command = [docker, "run", "--rm", "--init", "--read-only", "--tmpfs=/tmp"]
        command += [f"--user={service['user']}", f"--entrypoint={service['entrypoint'][0]}"]
        command += [f"--volume={root}:/models:ro", f"--volume={work}:/config:ro"]
        command += [f"--publish=127.0.0.1:{grpc_port}:8500"]
        command += [f"--publish=127.0.0.1:{rest_port}:8501"]
        command += [service["image"], *service["command"]]
    log = work / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (_accepts(grpc_port) and _accepts(rest_port)):  # once its models are loaded
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield TfServing(grpc_port, rest_port)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _docker(image: str) -> str:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip(f"no {BINARY} and no Docker that answers")
    known = subprocess.run([docker, "image", "inspect", image], capture_output=True)
    if known.returncode and subprocess.run([docker, "pull", image], capture_output=True).returncode:
        pytest.skip(f"{image} can't be pulled")
    return docker


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
