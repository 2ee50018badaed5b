"""Prometheus metrics, under TF Serving's names where it has them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_REQUESTS = ":tensorflow:serving:request_count"
_LATENCY_MS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000, 10000)
_BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_SIZES = tuple(4**i * 1024 for i in range(9))  # 1 KiB to 64 MiB
STATES = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")


class VersionRow(NamedTuple):
    """What metrics and messages say of a version."""

    model: str
    version: int
    state: str  # one of STATES
    waiting: int  # requests in its queue
    load_seconds: float
    warm_up_seconds: float


class Models(Protocol):
    """What the metrics ask a Manager for."""

    def overview(self) -> list[VersionRow]:
        """Every version's state."""

    def served(self) -> dict[str, int]:
        """The version that answers, by model."""

    def failed_loads(self) -> dict[str, int]:
        """How many versions were rejected, by model."""


class Metrics:
    """What an operator watches. Each server has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._models: Models | None = None
        self._latency = self._histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from a whole request to its answer.",
            ("model_name", "API", "entrypoint"),
            [ms * 1000 for ms in _LATENCY_MS],
        )
        self._runtime = self._histogram(
            ":tensorflow:serving:runtime_latency",
            "Microseconds of a run of the model.",
            ("model_name", "API", "runtime"),
            [ms * 1000 for ms in _LATENCY_MS],
        )
        self._size = self._histogram(
            "cxrflow_serving_request_bytes",
            "Bytes of a request that carries images, as they came.",
            ("model_name", "entrypoint"),
            _SIZES,
        )
        self._batch_size = self._histogram(
            "cxrflow_serving_batch_size", "Images in a run of the model.", buckets=_BATCH_SIZES
        )
        self._queue_seconds = self._histogram(
            "cxrflow_serving_queue_seconds",
            "How long a batch's first request waited for a free thread.",
        )
        self.show(self._request_counts)
        ProcessCollector(registry=self.registry)  # memory, processor time, open files

    def count(
        self, model: str, status: str, api: str, entrypoint: str, seconds: float, size: int = 0
    ) -> None:
        """One finished request.

        Args:
            model: its name; one that isn't there counts as "".
            status: name of its gRPC code.
            api: Predict, Classify, ...
            entrypoint: gRPC or REST.
            seconds: from the whole request to its answer.
            size: bytes of the request; 0 without a body.
        """
        if self._models is None or all(model != row.model for row in self._models.overview()):
            model = ""  # clients can't fill memory with names
        with self._lock:
            self._requests[model, status] += 1
        self._latency.labels(model, api, entrypoint).observe(seconds * 1e6)
        if size:
            self._size.labels(model, entrypoint).observe(size)

    def batch(self, model: str, rows: int, waited: float) -> None:
        """A batch that is about to run; its first request waited so many seconds."""
        self._batch_size.labels(model).observe(rows)
        self._queue_seconds.labels(model).observe(waited)

    def run(self, model: str, seconds: float) -> None:
        """A run of a model. Whatever was asked, it computes a signature as Predict does."""
        self._runtime.labels(model, "Predict", "TF1").observe(seconds * 1e6)

    def watch(self, models: Models) -> None:
        """Shows these models' versions."""
        self._models = models
        self.show(lambda: _versions(models))

    def show(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Adds metrics that are made at each look."""
        self.registry.register(_Collected(collect))

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return bytes(generate_latest(self.registry))

    def _histogram(
        self,
        name: str,
        text: str,
        labels: Iterable[str] = ("model_name",),
        buckets: Iterable[float] = Histogram.DEFAULT_BUCKETS,
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=tuple(buckets), registry=self.registry)

    def _request_counts(self) -> Iterator[Metric]:
        # Not prometheus_client's Counter: it would add "_total" to TF Serving's name.
        metric = Metric(_REQUESTS, "Requests by model and gRPC code.", "unknown")
        with self._lock:
            for (model, status), count in self._requests.items():
                metric.add_sample(_REQUESTS, {"model_name": model, "status": status}, count)
        yield metric


class _Collected:
    """A collector of prometheus_client from a function."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]):
        self.collect = collect


def _versions(models: Models) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "cxrflow_serving_version_state",
        "1 for the state that a version is in.",
        labels=["model_name", "version", "state"],
    )
    queue = GaugeMetricFamily(
        "cxrflow_serving_queue_length",
        "Requests that wait for a free thread.",
        labels=["model_name", "version"],
    )
    took = GaugeMetricFamily(
        "cxrflow_serving_load_seconds",
        "How long a version that is in memory took to load, and to warm up.",
        labels=["model_name", "version", "step"],
    )
    for row in models.overview():
        for name in STATES:
            states.add_metric([row.model, str(row.version), name], float(name == row.state))
        queue.add_metric([row.model, str(row.version)], row.waiting)
        for step, seconds in (("load", row.load_seconds), ("warm-up", row.warm_up_seconds)):
            took.add_metric([row.model, str(row.version), step], seconds)
    served = GaugeMetricFamily("cxrflow_serving_models_served", "Models that can be asked.")
    served.add_metric([], len(models.served()))
    failed = CounterMetricFamily(
        "cxrflow_serving_failed_loads",
        "Versions that were rejected; the one before goes on serving.",
        labels=["model_name"],
    )
    for model, count in models.failed_loads().items():
        failed.add_metric([model], count)
    yield from (states, queue, took, served, failed)
