"""`cxrflow doctor`: what it finds, and what it says where something is missing."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.pipeline import doctor

LOCK = """\
--hash-less-line
absl-py==2.3.1 ; python_full_version < '4' \\
    --hash=sha256:00
nothing-for-us==1.0 ; sys_platform == 'amiga' \\
plain==3.2
"""


def test_locked_versions_keep_to_what_fits_here() -> None:
    assert doctor.locked_versions(LOCK) == {"absl-py": "2.3.1", "plain": "3.2"}


def test_the_lock_of_this_repository_is_read() -> None:
    lock = Path(doctor.__file__).resolve().parents[1] / "requirements.lock"
    assert doctor.locked_versions(lock.read_text())["tfx"] == "1.21.0"


def findings(folder: Path) -> dict[str, doctor.Finding]:
    return {each.name: each for each in doctor.examine(folder, imports=False)}


def test_a_folder_that_is_not_there_yet(tmp_path) -> None:
    found = findings(tmp_path / "a" / "b")
    assert found["output"] == doctor.Finding("output", "ok", f"{tmp_path} can be written")
    assert str(tmp_path) in found["disk"].text


def test_what_can_not_be_written_is_a_problem(tmp_path, monkeypatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = findings(tmp_path)
    assert found["output"].status == "problem"
    assert "can't be written (Read-only file system)" in found["output"].text


def test_little_space_is_a_problem(tmp_path, monkeypatch) -> None:
    usage = doctor.shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert findings(tmp_path)["disk"].text.startswith("1.0 GB free in")
    assert findings(tmp_path)["disk"].status == "problem"


def test_missing_package_is_a_problem(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("tfx", "no-such-package"))
    found = findings(tmp_path)["packages"]
    assert (found.status, found.text) == ("problem", "no-such-package missing: run `make setup`")


def test_a_port_in_use_is_a_note(tmp_path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8500))
        except OSError:
            pytest.skip("port 8500 is in use")
        taken.listen()
        found = findings(tmp_path)["gRPC port"]
    assert found.status == "note"
    assert "--port N" in found.text


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("raise ImportError('no libfoo')", "problem", "doesn't start: ImportError: no libfoo"),
        ("import os; os.abort()", "problem", "doesn't start: exit code -6"),
        (
            'print(\'noise\'); print(\'{"backend": "tensorflow", "gpus": ["GPU:0"]}\')',
            "ok",
            "Keras on tensorflow; GPU:0",
        ),
    ],
)
def test_tensorflow_is_started_in_a_child(monkeypatch, code: str, status: str, text: str) -> None:
    monkeypatch.setattr(doctor, "_IMPORT", code)
    found = doctor._tensorflow()
    assert found.status == status
    assert text in found.text


def test_command_ends_with_1_where_something_is_missing(tmp_path, monkeypatch) -> None:
    code = (
        "import sys, cxrflow.pipeline.doctor as d; d._PACKAGES = ('no-such-package',);"
        "from cxrflow.pipeline.cli import main; sys.argv = ['cxrflow', 'doctor', '--quick']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "problem packages: no-such-package missing" in done.stdout
