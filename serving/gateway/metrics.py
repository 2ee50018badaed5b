"""What an operator watches of a gateway, as a page for Prometheus."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from cxrflow.schema.audit import Decision
from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.gateway.queue import Queue, State

# What is under way, or waits for an operator; `answered` only grows until it is forgotten.
_OPEN: tuple[State, ...] = ("incoming", "waiting", "asked", "failed")
_SECONDS = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 86400)


class Metrics:
    """Counters since the start, and what lies in the queue at each look."""

    def __init__(self, queue: Queue):
        """`queue`: whose studies are counted."""
        self.registry = CollectorRegistry()
        self.received = self._counter("received_images", "Images that were taken into the queue.")
        self.refused = self._counter("refused_images", "Images that were refused.")
        self.rejected = self._counter("rejected_associations", "Connections that were rejected.")
        self.aborted = self._counter("aborted_associations", "Connections that broke off.")
        self.failed_asks = self._counter("failed_asks", "Attempts that got no answer of the model.")
        self.sent = self._counter("sent_studies", "Studies of which a destination has all.", "to")
        self.failed_sends = self._counter("failed_sends", "Attempts that failed to send.", "to")
        self.failed_studies = self._counter("failed_studies", "Studies that were put aside.")
        self._answers = self._counter("answers", "Images about which was decided.", "answer")
        self._seconds = Histogram(
            "cxrflow_gateway_answer_seconds",
            "From an image's arrival until it was decided about.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_OfQueue(queue))
        ProcessCollector(registry=self.registry)  # memory, processor time, open files

    def decided(self, decision: Decision) -> None:
        """A line that the audit log has got."""
        self._answers.labels(decision.answer or "none").inc()
        self._seconds.observe(decision.seconds)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """The page, at any path of this address inside the block.

        Raises:
            CxrflowError: nobody can listen there.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise CxrflowError(
                f"gateway: metrics_port {port} on {host}: {error.strerror or error}"
            ) from None
        try:
            yield
        finally:
            _close(server, thread)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"cxrflow_gateway_{name}", text, labels, registry=self.registry)


def _close(server: WSGIServer, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


class _OfQueue:
    """Gauges of the folders, which alone know what is there."""

    def __init__(self, queue: Queue):
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        """Counts studies, and finds the oldest image, state by state."""
        studies = GaugeMetricFamily(
            "cxrflow_gateway_studies", "Studies in the queue, by state.", labels=["state"]
        )
        oldest = GaugeMetricFamily(
            "cxrflow_gateway_oldest_seconds",
            "Since the oldest image of a state came; 0 without one.",
            labels=["state"],
        )
        now = time.time()
        for state in _OPEN:
            came = self._queue.came(state)
            studies.add_metric([state], len(came))
            oldest.add_metric([state], max(0.0, now - min(came, default=now)))
        yield from (studies, oldest)
