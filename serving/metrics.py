"""Prometheus metrics, under TF Serving's names where it has them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

_REQUESTS = ":tensorflow:serving:request_count"
_LATENCY_MS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000, 10000)
_BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
STATES = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")

Models = Callable[[], Iterable[tuple[str, int, str, int]]]


class Metrics:
    """What an operator watches. Each server has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._models: Models = lambda: ()
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from a whole request to its answer.",
            ["model_name", "API", "entrypoint"],
            buckets=[ms * 1000 for ms in _LATENCY_MS],
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "cxrflow_serving_batch_size",
            "Images in a run of the model.",
            ["model_name"],
            buckets=_BATCH_SIZES,
            registry=self.registry,
        )
        self.queue_seconds = Histogram(
            "cxrflow_serving_queue_seconds",
            "How long a batch's first request waited for a free thread.",
            ["model_name"],
            registry=self.registry,
        )
        self.registry.register(_Collected(self._request_counts))

    def count(self, model: str, status: str, api: str, entrypoint: str, seconds: float) -> None:
        """One finished request; `status` is the name of its gRPC code."""
        if all(model != known for known, *_ in self._models()):
            model = ""  # clients can't fill memory with names
        with self._lock:
            self._requests[model, status] += 1
        self._latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def watch(self, models: Models) -> None:
        """`models` says (model, version, state, requests that wait) of each version."""
        self._models = models
        self.registry.register(_Collected(lambda: _versions(models())))

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

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


def _versions(models: Iterable[tuple[str, int, str, int]]) -> Iterator[Metric]:
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
    for model, version, state, waiting in models:
        for name in STATES:
            states.add_metric([model, str(version), name], float(name == state))
        queue.add_metric([model, str(version)], waiting)
    yield from (states, queue)
