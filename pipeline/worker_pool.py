"""Beam workers for a runner elsewhere (`--environment_type=EXTERNAL`). Imports Beam.

Beam's own pool starts whatever `python` PATH has, in whatever environment it was started in, and
each worker of each step loads TensorFlow anew. Here workers are forked from one process that has
loaded it, with the settings that a run has.
"""

import logging
import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as service

from cxrflow.pipeline.parallel import PRELOADED, end_with_command
from cxrflow.schema.errors import CxrflowError

# Where another value would change what a node does. All else travels with the steps themselves.
ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "0"}
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a port has one pool
    ("grpc.http2.max_ping_strikes", 0),  # Beam's runners ping while they wait
]
_SECONDS = 60  # that a worker may take until it runs
_ENDED = (
    "a worker ended at once, the log of `cxrflow workers` says why; start it anew if cxrflow was "
    "changed meanwhile"
)
_HARNESS = "apache_beam.runners.worker.sdk_worker"


class Pool(service.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]  # Any to mypy, as all of Beam
    """Starts a worker whenever a runner asks for one; it ends when that runner lets go of it."""

    def __init__(self) -> None:
        os.environ.update(ENVIRONMENT)  # before the process is started that all workers come from
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_HARNESS, *PRELOADED])
        # Runners don't wait long for a worker: the process they are forked from has to be ready.
        first = self._context.Process(target=int)
        first.start()
        first.join()

    def StartWorker(self, request: api.StartWorkerRequest, _: Any) -> api.StartWorkerResponse:
        """Beam's."""
        multiprocessing.active_children()  # those that have ended are let go
        logging.info("a worker for %s", request.control_endpoint.url)
        running, told = self._context.Pipe(duplex=False)
        with running:
            try:
                with told:  # which then is the worker's alone, and closes with it
                    self._context.Process(
                        target=_work,
                        args=(request.control_endpoint.url, request.worker_id, told),
                        daemon=True,
                    ).start()
            except OSError as error:
                return api.StartWorkerResponse(error=f"no worker could be started: {error}")
            try:
                if running.poll(_SECONDS):
                    running.recv()
            except EOFError:  # the runner would wait for it for ever
                return api.StartWorkerResponse(error=_ENDED)
        return api.StartWorkerResponse()

    def StopWorker(self, _: api.StopWorkerRequest, __: Any) -> api.StopWorkerResponse:
        """Beam's. Runners number their workers each on its own, so that two may ask for a "1-1":
        which one is meant is known from the connection alone, whose end ends the worker."""
        return api.StopWorkerResponse()


def serve(host: str, port: int) -> None:
    """Serves a pool until the process is stopped, and its workers with it.

    Raises:
        CxrflowError: the port can't be listened on.
    """
    # A thread each for runners that ask at the same time; a worker's start takes milliseconds.
    server = grpc.server(ThreadPoolExecutor(4), options=_OPTIONS)
    service.add_BeamFnExternalWorkerPoolServicer_to_server(Pool(), server)
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise CxrflowError(
            f"port {port} of {host} can't be listened on: take another with --port"
        ) from error
    server.start()
    print(f"workers for --environment_config={host}:{port}", flush=True)
    try:
        server.wait_for_termination()
    finally:
        server.stop(None)


def _work(control: str, name: str, told: Connection) -> None:  # pragma: no cover (another process)
    """The life of a worker, which tells that it has begun."""
    end_with_command()
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    told.send(None)
    told.close()
    code = 1
    try:
        SdkHarness(control, worker_id=name, data_buffer_time_limit_ms=-1).run()
        code = 0
    except Exception:
        logging.exception("a worker of %s ended", control)
    finally:
        sys.stderr.flush()
        os._exit(code)  # not waiting for threads whose bundle nobody wants any more
