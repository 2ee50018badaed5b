"""`cxrflow serve` as an operator runs it."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


def command(*args):
    return [sys.executable, "-m", "cxrflow.pipeline.cli", "serve", *map(str, args)]


@pytest.mark.parametrize(
    "args, text",
    [
        (["--root", "/nope"], "--root /nope is no folder"),
        (["--root", ".", "--port", "70000"], "serve: grpc_port: Input should be less than"),
        (["--root", ".", "--config", "/nope.yaml"], "/nope.yaml can't be read"),
        (["--root", ".", "--tls-client-ca", "ca.pem"], "serve: TLS needs both a certificate and"),
        (["--root", ".", "--tls-cert", "a.pem"], "serve: TLS needs both a certificate and its key"),
    ],
)
def test_bad_input_is_one_line(args, text):
    result = subprocess.run(command(*args), cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 2
    assert text in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.tf
@pytest.mark.slow
def test_serves_a_run_until_it_is_told_to_stop(tmp_path, tiny_models, push_version):
    push_version(tiny_models[0.25], tmp_path / "serving" / "tiny", 3)
    process = subprocess.Popen(
        command("--root", tmp_path, "--port", 0, "--rest-port", 0),
        cwd=REPO,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline().rstrip() for _ in range(4)]
    assert lines[0].startswith("gRPC 127.0.0.1:")
    assert lines[2:] == ["model tiny, version 3", f"log: {lines[3][5:]}"]
    log = Path(lines[3][5:])
    assert log.parent == tmp_path / "logs"
    url = lines[1].removeprefix("REST ") + "/tiny"
    assert b"AVAILABLE" in urllib.request.urlopen(url).read()
    libraries = Path(f"/proc/{process.pid}/maps").read_text()
    assert "tensorflow" in libraries
    for beside in ("matplotlib", "pandas", "sklearn"):
        assert f"/{beside}/" not in libraries  # Keras would load them
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert process.stdout.read() == "stopped\n"
    process.stdout.close()
    assert "tiny: version 3 is loaded and warm" in log.read_text()
