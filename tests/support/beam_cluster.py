"""Beam's own job server, which stands in for Flink's, and pools of workers, as processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_port

REPO = Path(__file__).parents[2]
JOB_SERVER = "apache_beam.runners.portability.local_job_service_main"
# Beam's own pool, whose workers have what the environment gives them.
BARE_POOL = "apache_beam.runners.worker.worker_pool_main"
NO_CXRFLOW = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "cxrflow":
            raise ModuleNotFoundError("No module named 'cxrflow'", name=name)

sys.meta_path.insert(0, Missing())
"""


@dataclass
class Cluster:
    """Started as it is asked for, `wait` waits for it; `stop` ends all of it."""

    folder: Path  # for logs
    processes: dict[int, subprocess.Popen] = field(default_factory=dict)  # by port

    def job_server(self) -> int:
        """Starts one; its port."""
        port = free_port()
        self._start([JOB_SERVER, f"--job_port={port}"], port)
        return port

    def workers(self) -> int:
        """Starts a pool of ours; its port."""
        port = free_port()
        self._start(["cxrflow.pipeline.cli", "workers", f"--port={port}"], port)
        return port

    def bare_workers(self, without_project: bool = False, **environment: str) -> int:
        """Starts Beam's own pool; its port."""
        port, first = free_port(), []
        if without_project:
            (self.folder / "sitecustomize.py").write_text(NO_CXRFLOW)
            first = [str(self.folder)]
        self._start([BARE_POOL, f"--service_port={port}"], port, first, environment)
        return port

    def kill(self, port: int) -> None:
        """Kills what listens on a port, and its children."""
        process = self.processes.pop(port)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for port in [*self.processes]:
            self.kill(port)

    def _start(
        self,
        command: list[str],
        port: int,
        first: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
        env = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # Beam's runs `python`
            "PYTHONPATH": os.pathsep.join([*(first or []), str(REPO), *filter(None, sys.path)]),
            **(environment or {}),
        }
        with (self.folder / f"{command[0]}.log").open("a") as log:
            # A session of its own, so that the children end with it.
            self.processes[port] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd="/",
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, port: int) -> int:
        """Until something listens on a port of ours; the port."""
        while True:
            try:
                socket.create_connection(("localhost", port)).close()
                return port
            except OSError:
                assert self.processes[port].poll() is None, self.folder
                time.sleep(0.1)


def options(job_server: int, workers: int, count: int = 2) -> list[str]:
    """Beam's, for so many workers."""
    return [
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{job_server}",
        "--environment_type=EXTERNAL",
        f"--environment_config=localhost:{workers}",
        f"--direct_num_workers={count}",
    ]
