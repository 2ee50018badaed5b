"""Workers of Beam in processes of their own: a job server's pool, and those that are forked."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.pipeline.config import parse, to_dict
from cxrflow.schema.errors import CxrflowError

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.tf


@pytest.fixture
def beam(tmp_path: Path) -> Iterator[list[str]]:
    """Options for Beam's own job server with an EXTERNAL pool of workers."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    job, pool = (one.getsockname()[1] for one in free)
    for one in free:
        one.close()
    path = os.pathsep.join([str(REPO), *filter(None, sys.path)])
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # the pool runs `python`
        "PYTHONPATH": path,
    }
    commands = (
        ("apache_beam.runners.portability.local_job_service_main", f"--job_port={job}"),
        ("apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}"),
    )
    with ExitStack() as stack:
        for module, option in commands:
            log = stack.enter_context((tmp_path / f"{module}.log").open("w"))
            # A session of its own, so that the pool's children end with it.
            process = subprocess.Popen(
                [sys.executable, "-m", module, option],
                cwd="/",
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, 9)
        for port in (job, pool):
            _wait_for(port)
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool}",
        ]


def _wait_for(port: int) -> None:
    while True:
        try:
            return socket.create_connection(("localhost", port)).close()
        except OSError:
            time.sleep(0.2)


def written(folder: Path) -> dict[str, list[str]]:
    """By number, the process that wrote it and the folder that it worked in."""
    return {file.name: file.read_text().split() for file in folder.iterdir()}


def test_workers_of_other_processes_write_into_the_root(
    beam: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrflow.pipeline import dag, engines
    from tests.pipeline.test_dag import FACTS
    from tests.support import tiny_pipeline as tiny
    from tests.support.far_node import Far

    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.chdir(root)
    config = parse({"name": "far", "beam": {"args": beam}})
    node = Far(tiny.TinySettings(name="Far"), "code-1")
    pipeline = dag.assemble(config, [node], Path(), FACTS)
    ir = engines.begin(pipeline, root, replace(tiny.ORIGIN, config=to_dict(config)))
    engines.run_node(ir, "Far")
    uri = engines.outputs(ir).artifacts["Far"]["text"]
    assert uri == "artifacts/Far/text/1"  # relative, as without such workers
    found = written(root / uri)
    assert set(found) == {"0", "1", "2", "3"}
    assert {folder for _, folder in found.values()} == {"/"}
    assert str(os.getpid()) not in {pid for pid, _ in found.values()}


def run_forked(root: Path, name: str) -> dict[str, list[str]]:
    """What Far wrote with two workers, as `cxrflow run --jobs 2` runs it."""
    from cxrflow.pipeline import dag, engines, parallel
    from cxrflow.pipeline.output import console_on
    from cxrflow.pipeline.run import inside
    from cxrflow.pipeline.terminal import NodeDisplay
    from tests.pipeline.test_dag import FACTS
    from tests.support import tiny_pipeline as tiny
    from tests.support.far_node import Far

    config = parse({"name": "far", "beam": {"workers": 2}})
    with inside(root):
        node = Far(tiny.TinySettings(name=name), "code-1")
        pipeline = dag.assemble(config, [node], Path(), FACTS)
        ir = engines.begin(pipeline, root, replace(tiny.ORIGIN, config=to_dict(config)))
        work = parallel.Work(ir.SerializeToString(), engines.upstream(ir), root, root / "logs")
        parallel.run(work, 2, NodeDisplay(console_on(sys.stderr), ["Far"]))
        return written(Path(engines.outputs(ir).artifacts["Far"]["text"]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forked workers need Linux")
def test_forked_workers_share_the_work_and_one_that_dies_is_told(tmp_path: Path) -> None:
    found = run_forked(tmp_path, "Far")
    assert set(found) == {"0", "1", "2", "3"}
    assert {folder for _, folder in found.values()} == {str(tmp_path)}
    assert len({pid for pid, _ in found.values()}) == 2
    log = (tmp_path / "logs" / "Far.log").read_text()
    assert "sdk_worker_main" not in log  # none was started anew
    with pytest.raises(CxrflowError, match=r"^a worker of Beam was killed: did it take too much"):
        run_forked(tmp_path, "Deadly")
    assert not any(Path("/proc", pid).exists() for pid, _ in found.values())
