"""`cxrflow gateway` as an operator runs it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.serving.gateway import hospital
from tests.serving.gateway.test_receive import echo

REPO = Path(__file__).parents[3]


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "cxrflow.pipeline.cli", "gateway", "--config", str(config)]


def write(tmp_path: Path, **changes) -> Path:
    (tmp_path / "key").write_text(hospital.KEY)
    values = {
        "port": 0,
        "queue": str(tmp_path / "queue"),
        "audit": str(tmp_path / "audit.jsonl"),
        "pseudonym_key": str(tmp_path / "key"),
        "peers": [{"ae_title": hospital.MODALITY}],
        "destinations": [hospital.to_archive(1)],
    }
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peers": []}, "cxrflow: gateway: peers is missing in "),
        ({"pseudonym_key": "/nope"}, "cxrflow: gateway: pseudonym_key: /nope can't be read: "),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, says):
    path = write(tmp_path, **changes)
    result = subprocess.run(command(path), cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(says) and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_it_works_until_it_is_told_to_stop(tmp_path):
    process = subprocess.Popen(
        command(write(tmp_path)),
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("CXRFLOW listens on 127.0.0.1:"), process.stderr.read()
    port = int(line.split(":")[1].split(",")[0])
    assert echo(port, hospital.MODALITY)
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (0, "stopped\n", "")
