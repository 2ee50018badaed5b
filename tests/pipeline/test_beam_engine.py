"""What can be told of an engine before a run, and its failures in one line; no TensorFlow."""

import re
import socket
from pathlib import Path

import pytest

from cxrflow.pipeline import beam_engine
from cxrflow.pipeline.beam_failures import explained
from cxrflow.pipeline.config import load, parse
from cxrflow.pipeline.settings import is_remote, runner_of
from cxrflow.schema.errors import CxrflowError
from tests.support.ports import refusing_port


@pytest.mark.parametrize(
    ("args", "runner", "remote"),
    [
        ([], "", False),
        (["--runner=FnApiRunner"], "fnapirunner", False),
        (["--runner=direct"], "directrunner", False),
        (["--runner=Portable"], "portablerunner", True),
        (
            ["--runner=apache_beam.runners.portability.flink_runner.FlinkRunner"],
            "flinkrunner",
            True,
        ),
        (["--runner=FlinkRunner", "--runner=DirectRunner"], "directrunner", False),
    ],
)
def test_the_runner_that_options_name(args: list[str], runner: str, remote: bool) -> None:
    assert (runner_of(args), is_remote(args)) == (runner, remote)


def test_a_job_server_that_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        args = [f"--job_endpoint=localhost:{server.getsockname()[1]}"]
        beam_engine.require(parse({"beam": {"args": args}}).beam)
    for args in ([], ["--runner=PortableRunner", "--job_endpoint=embed"], ["--runner=FnApiRunner"]):
        beam_engine.require(parse({"beam": {"args": args}}).beam)


@pytest.mark.parametrize(
    ("beam", "line"),
    [
        (
            {"args": ["--job_endpoint=localhost:PORT"]},
            "beam.args: no job server answers at --job_endpoint=localhost:PORT (Connection refused)"
            ": start it, or correct the address (",
        ),
        (
            {"args": [], "nodes": {"Transform": ["--job_endpoint=localhost"]}},
            "beam.nodes.Transform: no job server answers at --job_endpoint=localhost (invalid "
            "literal for int() with base 10: 'localhost'): start it, or correct the address",
        ),
        (
            {"args": [], "nodes": {"Transform": ["--runner=PortableRunner"]}},
            "beam.nodes.Transform: --runner=PortableRunner has no job server of its own: name one",
        ),
        (
            {"args": ["--runner=FlinkRunner", "--job_server_java_launcher=/no/java"]},
            "beam.args: --runner=FlinkRunner starts Beam's job server with Java, and there is no "
            "/no/java on this machine: install a JRE",
        ),
        (
            {"args": ["--runner=FlinkRunner", "--flink_submit_uber_jar",
                      "--flink_job_server_jar=/no/jar"]},
            "beam.args: --flink_job_server_jar=/no/jar: there is no such file",
        ),
        (
            {"args": ["--runner=DataflowRunner"]},
            "beam.args: Dataflow's workers mount no folder, and the steps read and write",
        ),
    ],
)  # fmt: skip
def test_engines_that_are_not_there(beam: dict, line: str) -> None:
    with refusing_port() as number:
        port = str(number)
        args = [arg.replace("PORT", port) for arg in beam["args"]]
        with pytest.raises(CxrflowError, match="^" + re.escape(line.replace("PORT", port))):
            beam_engine.require(parse({"beam": {**beam, "args": args}}).beam)


def test_a_run_says_so_before_anything_is_written(tmp_path: Path) -> None:
    from cxrflow.pipeline.run import run_pipeline

    with refusing_port() as port:
        config = load("demo+external", [f"beam.args=[--job_endpoint=localhost:{port}]"])
        with pytest.raises(CxrflowError, match=f"no job server answers at .*:{port}"):
            run_pipeline(config, None, tmp_path / "root", "local")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "Pipeline job-001 failed in state FAILED: Traceback (most recent call last):\n"
            '  File "sdk_worker.py", line 311, in _execute\n'
            "ModuleNotFoundError: No module named 'cxrflow'\n",
            "a Beam worker can't import a module (No module named 'cxrflow'): Beam's workers need "
            "the same environment as this command (`cxrflow workers` starts them)",
        ),
        (
            "failed: FileNotFoundError: [Errno 2] No such file or directory: '/shared/run/a'\n",
            "a Beam worker finds no /shared/run/a: root and data have to be at the same paths on "
            "all machines",
        ),
        (
            "tensorflow.python.framework.errors_impl.NotFoundError: /shared/run/b; No such file or "
            "directory [while running 'Read']",
            "a Beam worker finds no /shared/run/b: root and data have to be at the same paths on "
            "all machines",
        ),
        (
            "OSError: No files found based on the file pattern /shared/run/c/* [while running",
            "a Beam worker finds no /shared/run/c/*: root and data have to be at the same paths on "
            "all machines",
        ),
        (
            "<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n"
            '\tdetails = "failed to connect to all addresses; last error: UNKNOWN: '
            'ipv4:127.0.0.1:50000: Failed to connect"',
            "nobody answers Beam at ipv4:127.0.0.1:50000: start the workers (`cxrflow workers`) or "
            "correct --environment_config",
        ),
        ("ZeroDivisionError: division by zero", None),
        ("CxrflowError: ingest stopped: No module named 'x'", None),
    ],
)
def test_failures_of_workers(text: str, line: str | None) -> None:
    error = RuntimeError(text)
    found = explained(error)
    assert found is error if line is None else str(found) == line
