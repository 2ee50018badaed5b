"""The log file: its size, its rotation, and what is not said over and over."""

import logging
import os
import subprocess
import sys
from pathlib import Path

from cxrflow.serving import access
from cxrflow.serving.logs import Seldom

REPO = Path(__file__).parents[2]
# In a process of its own: the log follows file descriptors.
WRITE = """
import logging, os, sys
from pathlib import Path
from cxrflow.pipeline.terminal import redirected_to
from cxrflow.serving import logs
log = Path(sys.argv[1])
with redirected_to(log):
    logs.start(log, int(sys.argv[2]), 2)
    for i in range(40):
        logging.getLogger("cxrflow.serving.test").info("line %02d", i)
        os.write(2, b"C++ %02d\\n" % i)
        if sys.argv[3] == "moved" and i == 19:
            os.rename(log, log.with_name("moved"))
"""


def write(log: Path, max_bytes: int, how: str = "kept") -> list[str]:
    subprocess.run(
        [sys.executable, "-c", WRITE, str(log), str(max_bytes), how], cwd=REPO, check=True
    )
    return sorted(path.name for path in log.parent.iterdir())


def test_the_log_is_put_aside_when_it_is_full_and_what_tensorflow_writes_goes_with_it(tmp_path):
    assert write(tmp_path / "serve.log", 500) == ["serve.log", "serve.log.1", "serve.log.2"]
    newest = (tmp_path / "serve.log").read_text()
    assert "line 39\nC++ 39\n" in newest
    together = "".join((tmp_path / f"serve.log{n}").read_text() for n in (".2", ".1", ""))
    lines = [line[-2:] for line in together.splitlines()]
    assert lines == [number for number in dict.fromkeys(lines) for _ in "py"]  # both, in order
    assert all(path.stat().st_size < 600 for path in tmp_path.iterdir())


ONLY_OTHERS = """
import os, sys, time
from pathlib import Path
from cxrflow.pipeline.terminal import redirected_to
from cxrflow.serving import logs
log = Path(sys.argv[1])
def has_text():
    try:
        return log.stat().st_size
    except FileNotFoundError:  # just put aside
        return True
with redirected_to(log):
    logs.start(log, 500, 2, look_seconds=0.01)
    for i in range(3):
        os.write(2, b"Corrupt JPEG data\\n" * 50)
        while has_text():
            time.sleep(0.01)
    os.write(2, b"the last line\\n")
"""


def test_what_only_libraries_write_is_put_aside_too(tmp_path):
    log = tmp_path / "serve.log"
    subprocess.run([sys.executable, "-c", ONLY_OTHERS, str(log)], cwd=REPO, check=True, timeout=60)
    assert log.read_text() == "the last line\n"
    kept = {path.name: path.read_text().count("\n") for path in tmp_path.iterdir()}
    assert kept == {"serve.log": 1, "serve.log.1": 50, "serve.log.2": 50}


def test_without_a_limit_it_only_grows(tmp_path):
    assert write(tmp_path / "serve.log", 0) == ["serve.log"]
    assert (tmp_path / "serve.log").read_text().count("\n") == 80


def test_a_log_that_logrotate_moved_is_opened_anew(tmp_path):
    assert write(tmp_path / "serve.log", 0, "moved") == ["moved", "serve.log"]
    assert (tmp_path / "moved").read_text().count("\n") == 40
    assert (tmp_path / "serve.log").read_text().startswith("20")  # with line 20's date
    assert (tmp_path / "serve.log").read_text().count("\n") == 40


def test_the_same_warning_comes_seldom_and_errors_always():
    now = [100.0]
    seldom = Seldom(60, now=lambda: now[0])

    def passes(level: int, text: str, *args: object) -> str:
        record = logging.LogRecord("uvicorn.error", level, "", 0, text, args, None)
        return record.getMessage() if seldom.filter(record) else ""

    assert passes(logging.WARNING, "bad %s", "a") == "bad a"
    assert passes(logging.WARNING, "bad %s", "b") == passes(logging.WARNING, "bad %s", "c") == ""
    assert passes(logging.WARNING, "other") == "other"
    assert passes(logging.ERROR, "bad") == passes(logging.ERROR, "bad") == "bad"
    now[0] += 60
    assert passes(logging.WARNING, "bad %s", "d") == "bad d (and 2 times before)"
    assert passes(logging.WARNING, "bad %s", "e") == ""


def test_a_line_of_the_access_log_is_one_line_and_bounded(caplog):
    with caplog.at_level(logging.INFO, "cxrflow.access"):
        access.log("1.2.3.4:5", "GET /v1/models/a\nb\x1b[2J", "a\nb" + "x" * 999, 3, 404, 0.0015, 7)
        access.log("ipv4:1.2.3.4:5", "Predict", "", None, "OK", 0.02, 0)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(r"1.2.3.4:5 GET /v1/models/a\nb\x1b[2J model=a\nbxxx")
    assert first.endswith(" version=3 404 1.5 ms 7 bytes") and len(first) < 400
    assert second == "ipv4:1.2.3.4:5 Predict model=- version=- OK 20.0 ms 0 bytes"
    assert os.linesep not in first
