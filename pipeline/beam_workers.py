"""Beam's workers on this machine, forked from a process that has loaded TensorFlow, not used it.

Beam's own mode multi_processing starts a Python for each worker of each of its pipelines, and each
loads TensorFlow: longer than it works for some hundred images. Uses the insides of Beam, which no
version promises: tests/components/test_private_api.py names the versions that this was tried with.
"""

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.transforms import environments

from cxrflow.schema.processes import end_with_parent, how_it_ended

URN = "cxrflow:forked:v1"
RUNNER = f"{__name__}.forking_runner"  # for Beam's option --runner
_AGAIN_S = 0.2  # between answers for a dead worker


class Nursery:
    """A process that forks workers, itself forked before this one has threads that a fork loses."""

    def __init__(self) -> None:
        self._line, theirs = multiprocessing.Pipe()
        # Not one of multiprocessing's: those that may have children are waited for at the end.
        self.pid = os.fork()
        if not self.pid:  # pragma: no cover (another process)
            try:
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._line.recv()  # it has let go of locks that are held here
        self._workers: dict[str, ForkedWorker] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, worker: "ForkedWorker") -> None:
        """Forks a process for it."""
        self._workers[worker.worker_id] = worker
        self._line.send((worker.control_address, worker.worker_id, os.getcwd()))

    def close(self) -> None:
        """Ends it, and whatever it has forked."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                name, code = self._line.recv()
                threading.Thread(target=self._workers.pop(name).ended, args=(code,)).start()


_nursery: Nursery | None = None


def prepare(workers: int) -> None:
    """Forks the nursery for steps with several workers, before this process uses TensorFlow."""
    global _nursery
    if workers > 1 and _nursery is None and sys.platform == "linux":
        _nursery = Nursery()


def forking_runner() -> FnApiRunner:
    """Beam's own runner; without a nursery its workers are started anew, as in multi_processing."""
    if _nursery is None:
        command = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
        anew = environments.SubprocessSDKEnvironment.from_command_string(command)
        return FnApiRunner(default_environment=anew)
    capabilities = environments.python_sdk_capabilities()
    return FnApiRunner(default_environment=ForkedEnvironment(capabilities))


# This and the next class add an entry of their own to Beam's tables, and change none of Beam's.
@environments.Environment.register_urn(URN, bytes)
class ForkedEnvironment(environments.Environment):  # type: ignore[misc]  # Any to mypy, as all of Beam
    """Where functions run: in workers of the nursery."""

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        """See Environment."""
        return URN, b""

    @staticmethod
    def from_runner_api_parameter(
        payload: bytes, capabilities: Any, artifacts: Any, resource_hints: Any, context: Any
    ) -> "ForkedEnvironment":
        """See Environment."""
        return ForkedEnvironment(capabilities, artifacts, resource_hints)


@worker_handlers.WorkerHandler.register_environment(URN, bytes)
class ForkedWorker(worker_handlers.GrpcWorkerHandler):  # type: ignore[misc]  # as above
    """A worker as the runner sees it."""

    def __init__(self, payload: bytes, state: Any, provision: Any, server: Any) -> None:
        super().__init__(state, provision, server)
        self._closed = threading.Event()

    def start_worker(self) -> None:
        """Forks it; it asks for work by itself."""
        assert _nursery
        _nursery.start(self)

    def stop_worker(self) -> None:
        """Nothing: it ends as it hears that there is no more work."""

    def close(self) -> None:
        """See WorkerHandler."""
        self._closed.set()
        super().close()

    def ended(self, code: int) -> None:
        """Answers in a dead worker's place until its runner gives up, which else waits for ever."""
        error = f"CxrflowError: a worker of Beam {how_it_ended(code)}"
        while not self._closed.wait(_AGAIN_S):
            for name, future in list(self.control_conn._futures_by_id.items()):
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=error))


def _serve(line: Connection) -> None:  # pragma: no cover (another process)
    """The nursery's life: forks what it is asked for, and tells how each has ended."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _let_go(line.fileno())
    line.send(None)
    running: dict[Any, tuple[str, Any]] = {}
    while True:
        for ready in wait([line, *running]):
            if ready is not line:
                name, process = running.pop(ready)
                process.join()
                line.send((name, process.exitcode))
                continue
            try:
                address, name, folder = line.recv()
            except EOFError:
                return
            process = multiprocessing.get_context("fork").Process(
                target=_work, args=(line, address, name, folder)
            )
            process.start()
            running[process.sentinel] = name, process


def _let_go(kept: int) -> None:  # pragma: no cover (another process)
    """Puts nothing in the place of the files that were open at the fork, but for one and 0 to 2.

    A lock lasts until its file is closed everywhere, and a pipe's end too. The numbers stay taken:
    who owned one may close it.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in (kept, nothing):
            with suppress(OSError):  # that of the listing itself
                os.fstat(int(name))
                os.dup2(nothing, int(name))


def _work(
    line: Connection, address: str, name: str, folder: str
) -> None:  # pragma: no cover (another process)
    """A worker's life, in the folder that its runner works in."""
    line.close()
    end_with_parent()
    os.chdir(folder)
    # As Beam's own workers in threads have it.
    SdkHarness(
        address,
        worker_id=name,
        state_cache_size=worker_handlers.STATE_CACHE_SIZE_MB << 20,
        data_buffer_time_limit_ms=worker_handlers.DATA_BUFFER_TIME_LIMIT_MS,
        runner_capabilities=worker_handlers.FNAPI_RUNNER_CAPABILITIES,
    ).run()
