"""The embedded server: gRPC and REST over one Manager."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.memory import give_back
from cxrflow.schema.processes import set_by_signals
from cxrflow.serving.addresses import bare, cannot_listen, family, join, require_free
from cxrflow.serving.connections import allow_connections, end_connections
from cxrflow.serving.core import Core, Values
from cxrflow.serving.grpc_services import REFLECTION, SERVICES, Services, add_reflection
from cxrflow.serving.http import BACKLOG, HttpServer
from cxrflow.serving.loop import front
from cxrflow.serving.manager import Manager
from cxrflow.serving.memory import return_large_blocks
from cxrflow.serving.metrics import Metrics
from cxrflow.serving.questions import Question
from cxrflow.serving.recent import Recent
from cxrflow.serving.rest import Rest
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.shadow.shadow import Shadow
from cxrflow.serving.tls import Certificate

logger = logging.getLogger(__name__)

_STREAMS = 128  # requests under way on one gRPC connection; more wait at the client
# Requests that wait for the event loop: above it gRPC says CANCELLED, which no client sends again.
# Each takes some KB.
_PENDING = 100_000
_WINDOW = 2**20  # bytes that come before a request is read
_LOOK_SECONDS = 0.05
_LAST_SECONDS = 0.5  # for gRPC to see that its connections have ended
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Server:
    """Serves the models of one serving root until it is stopped."""

    def __init__(self, root: Path, config: ServerConfig | None = None):
        """Binds the ports; nothing is loaded or answered yet.

        Args:
            root: a serving root, `<root>/<model>/<version>/`.
            config: the defaults without it.

        Raises:
            CxrflowError: the root isn't there, a port is taken, the TLS files can't be read, or the
                shadow's log can't be written.
        """
        if not root.is_dir():
            raise CxrflowError(f"{root} is no folder; name a serving root or a run's folder")
        self.config = config = config or ServerConfig()
        self._certificate = Certificate(config) if config.tls_certificate else None
        self.metrics = Metrics()
        self.manager = Manager(root, config, self.metrics.batch, self.metrics.run)
        self.metrics.watch(self.manager)
        recent = Recent(config.recent_images)
        self.metrics.show(recent.metrics)
        observers: list[Callable[[Question, Values], None]] = [
            lambda question, values: recent.answered(question.version, values)
        ]
        self._shadow = Shadow(self.manager, config) if config.shadow.label else None
        if self._shadow:
            self.metrics.show(self._shadow.metrics)
            observers.append(self._shadow.offer)
        self._core = Core(self.manager, config, observers)
        self._services = Services(self._core, self.metrics, config)
        self._rest = Rest(self._core, self.metrics, config)
        self._health = health.aio.HealthServicer()
        listener = _listen(config.host, config.rest_port)
        self.rest_port = listener.getsockname()[1]
        self._http = HttpServer(
            self._rest.app,
            listener,
            config,
            self._certificate.context if self._certificate else None,
        )
        self._front = front()
        try:
            self.grpc_port = self._front.run(self._bind_grpc())
        except CxrflowError:
            listener.close()
            self._core.close()
            raise
        self._started = self._stopped = False

    def start(self, need_model: bool = True, stop: threading.Event | None = None) -> None:
        """Loads and warms up the models, then answers; gives up loading once `stop` is set.

        Raises:
            CxrflowError: there is no model to serve; says why. Not if `need_model` is off.
        """
        self.manager.start(stop)
        if stop and stop.is_set():
            return
        if need_model and not self.manager.served():
            raise CxrflowError(self._why_no_model())
        if self._shadow:
            self._shadow.start()
        # What is there now stays; without this, full collections would stop requests for 100 ms.
        gc.collect()
        gc.freeze()
        self._front.run(self._start())
        self._started = True

    def stop(self, notice: float = 0.0) -> None:
        """Refuses new requests, lets those under way finish, frees the models.

        Args:
            notice: seconds for which connections are still accepted and told that it stops.
        """
        if self._stopped:
            return
        self._stopped = True
        self._front.run(self._stop(notice))
        self._core.close()
        if self._shadow:
            self._shadow.close()
        self.manager.stop()

    async def _start(self) -> None:
        await self._grpc.start()
        await self._http.start()
        await self._set_health(bool(self.manager.served()))
        self._following = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        """Keeps gRPC's health and the certificate up to date, and memory small."""
        while True:
            await asyncio.sleep(self.config.poll_seconds)
            await self._set_health(bool(self.manager.served()))
            if self._certificate:
                await asyncio.to_thread(self._certificate.refresh)
            if self._services.messages.large_ended:
                self._services.messages.large_ended = False
                # gRPC reads a message in small pieces, of which glibc would keep the memory.
                await asyncio.to_thread(give_back, collect=False)

    async def _stop(self, notice: float) -> None:
        self._services.draining = self._rest.draining = True
        if self._started:
            self._following.cancel()
        await self._set_health(False)
        seconds = self.config.drain_seconds
        notice = min(notice, seconds) if self._started else 0.0
        await asyncio.sleep(notice)
        self._rest.give_up()
        stopping = [self._stop_grpc(seconds - notice)]
        if self._started:
            stopping.append(self._http.stop(seconds - notice))
        await asyncio.gather(*stopping)

    async def _stop_grpc(self, seconds: float) -> None:
        """Waits for requests, but not for streams: who watches the health would never end."""
        last = time.monotonic() + seconds
        while self._services.under_way and time.monotonic() < last:
            await asyncio.sleep(_LOOK_SECONDS)
        end_connections(self.grpc_port)
        await self._grpc.stop(_LAST_SECONDS)

    async def _bind_grpc(self) -> int:
        """Makes the gRPC server, on the loop that it will run on; returns its port."""
        config = self.config
        self._grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", _STREAMS),  # of one connection
                ("grpc.server.max_pending_requests", _PENDING),
                ("grpc.server.max_pending_requests_hard_limit", _PENDING),
                # An X-ray may be on its way before it is read, not only the usual 64 KB of it.
                ("grpc.http2.lookahead_bytes", _WINDOW),
                ("grpc.http2.bdp_probe", 0),  # else that window grows to 16 MiB, unread
                ("grpc.so_reuseport", 0),  # else a second server could share the port unnoticed
            ],
        )
        self._services.add_to(self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        add_reflection(self._grpc, [*SERVICES, health.SERVICE_NAME, *REFLECTION])
        await self._set_health(False)
        address = join(config.host, config.grpc_port)
        require_free(config.host, config.grpc_port, "--port")  # says more than gRPC does
        try:
            if self._certificate:
                credentials = self._certificate.grpc_credentials()
                return int(self._grpc.add_secure_port(address, credentials))
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError as error:
            raise cannot_listen(config.host, config.grpc_port, "--port", OSError(error)) from None

    async def _set_health(self, serving: bool) -> None:
        kinds = health_pb2.HealthCheckResponse
        for service in ("", *SERVICES):
            await self._health.set(service, kinds.SERVING if serving else kinds.NOT_SERVING)

    def describe(self) -> str:
        """One line an address and a model."""
        config = self.config
        scheme = "https" if config.tls_certificate else "http"
        lines = [
            f"gRPC {join(config.host, self.grpc_port)}{' (TLS)' if config.tls_certificate else ''}",
            f"REST {scheme}://{join(config.host, self.rest_port)}/v1/models",
            *(f"model {name}, version {n}" for name, n in sorted(self.manager.served().items())),
        ]
        if bare(config.host) not in _LOOPBACK and not config.tls_certificate:
            lines.append("warning: reachable from other machines, without encryption")
        return "\n".join(lines)

    def _why_no_model(self) -> str:
        rejected = [
            f"{name} version {number}: {version.error}"
            for name in sorted({row[0] for row in self.manager.overview()})
            for number, version in self.manager.statuses(name).items()
            if version.error
        ]
        if rejected:
            return f"No version can be served. {rejected[-1]}"
        return f"There is no model in {self.manager.root}: push one with `cxrflow run`"


@contextlib.contextmanager
def running(
    root: Path,
    config: ServerConfig | None = None,
    need_model: bool = True,
    notice: float = 0.0,
    stop: threading.Event | None = None,
) -> Iterator[Server]:
    """A server that answers inside the block; grpc_port=0 and rest_port=0 take free ports.

    `need_model` and `stop`: see `Server.start`; `notice`: see `Server.stop`.
    """
    server = Server(root, config)
    try:
        server.start(need_model, stop)
        yield server
    finally:
        server.stop(notice)


def serve(root: Path, config: ServerConfig, ready: Callable[[Server], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains; `ready` is called once requests are answered."""
    return_large_blocks()
    stop = threading.Event()
    set_by_signals(stop)
    allow_connections()
    with running(root, config, notice=config.notice_seconds, stop=stop) as server:
        if not stop.is_set():
            logger.info("listening on %s, process %d", config.host, os.getpid())
            ready(server)
        stop.wait()
        logger.info("stopping")


def _listen(host: str, port: int) -> socket.socket:
    """The REST port's socket. Raises CxrflowError if it is taken or the host isn't ours."""
    try:
        listener = socket.socket(family(host), socket.SOCK_STREAM)
    except OSError as error:
        raise cannot_listen(host, port, "--rest-port", error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bare(host), port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise cannot_listen(host, port, "--rest-port", error) from None
    return listener
