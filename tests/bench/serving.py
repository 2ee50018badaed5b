"""The embedded server with MobileNet at 224 pixels and PNGs of 400 KB, against the bare model.

The server is a process of its own (`cxrflow serve`), the clients are threads of this one. The bare
model is the same SavedModel in this process: decode and forward, no server. Both take short turns
and each turn is compared with its neighbour, so that other load on the machine hits both; CPU time
(server, client and bare model) stands beside wall time, as it hardly feels other load.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from tests.bench.figure import ROOT, SHARED, figure

MODEL = "bench"
SIDE = 224  # of the network
BYTES = 400_000  # of an image, about
PAIRS = 150  # of one bare run and one request
STARTS = 3
ROUNDS = 9  # three for each size of the bare model's batches
_START_SECONDS = 300


def main() -> Iterator[dict[str, Any]]:
    """Yields the figures of issue 4's table, but the soak and the fuzzing."""
    with Bench() as bench:
        yield from _latency(bench)
        yield from _throughput(bench)
        yield from _new_version(bench)


def _latency(bench: "Bench") -> Iterator[dict[str, Any]]:
    starts: list[tuple[float, float]] = []  # ms of the first request, and the median of later ones
    for _ in range(STARTS - 1):
        with bench.server() as served, served.channel() as channel:
            starts.append(_first(bench, served.stub(channel), channel))
    with bench.server() as served, served.channel() as channel:
        stub = served.stub(channel)
        starts.append(_first(bench, stub, channel))
        bare: list[float] = []
        over: list[float] = []
        cpu = {"bare": 0.0, "grpc": 0.0}
        for _ in range(PAIRS):
            started = served.cpu_seconds()
            bare.append(_ms(lambda: bench.bare(1)))
            middle = served.cpu_seconds()
            bench.again()
            over.append(_ms(lambda: stub.Predict(bench.request())))
            cpu["bare"] += middle - started
            cpu["grpc"] += served.cpu_seconds() - middle
        added = [with_grpc - without for with_grpc, without in zip(over, bare, strict=True)]
        extra = statistics.median(added)
        yield figure(
            "ms that a gRPC Predict of one 400 KB PNG adds to decode + model",
            extra,
            "<= 2",
            extra <= 2,
            clock=True,
            quartiles=[round(quantile(added, share), 2) for share in (0.25, 0.75)],
            bare_ms=round(statistics.median(bare), 2),
            added_cpu_ms=round(1000 * (cpu["grpc"] - cpu["bare"]) / PAIRS, 2),
            source=bench.source,
        )
        ratio = statistics.median(first / median for first, median in starts)
        yield figure(
            "first request after start-up / median",
            ratio,
            "<= 2",
            ratio <= 2,
            starts=[round(first / median, 2) for first, median in starts],
        )
        capacity = len(load(served, bench, clients=4, seconds=8)[0].ms) / 8
        paced, _ = load(served, bench, clients=8, seconds=20, rate=capacity / 2)
        ratio = quantile(paced.ms, 0.99) / statistics.median(paced.ms)
        yield figure(
            "p99 / median latency at half load",
            ratio,
            "<= 2",
            ratio <= 2 and not paced.errors,
            requests_per_second=round(capacity / 2, 1),
            median_ms=round(statistics.median(paced.ms), 1),
        )


def _first(bench: "Bench", stub: Any, channel: grpc.Channel) -> tuple[float, float]:
    grpc.channel_ready_future(channel).result(_START_SECONDS)
    first, *later = (_ms(lambda: stub.Predict(bench.request())) for _ in range(21))
    return first, statistics.median(later)


def _throughput(bench: "Bench") -> Iterator[dict[str, Any]]:
    sizes = (4, 8, 16)
    rates: dict[str, list[float]] = {"batching": [], "single": [], "bare": []}
    cpu: dict[str, list[float]] = {"batching": [], "single": [], "bare": []}  # ms an image
    with (
        bench.server() as batching,
        bench.server("batching: {max_batch_size: 1}") as single,
    ):
        for i in range(ROUNDS):
            for name, served in (("batching", batching), ("single", single)):
                before = served.cpu_seconds()
                done, _ = load(served, bench, clients=16, seconds=4)
                rates[name].append(len(done.ms) / done.seconds)
                cpu[name].append(1000 * (served.cpu_seconds() - before) / len(done.ms))
                if name == "batching":  # its neighbour in time
                    before = time.process_time()
                    rate, count = _bare_rate(bench, sizes[i % len(sizes)], seconds=4)
                    rates["bare"].append(rate)
                    cpu["bare"].append(1000 * (time.process_time() - before) / count)
    # The best of the bare model's batch sizes is the one with the highest median.
    best = max(range(len(sizes)), key=lambda k: statistics.median(rates["bare"][k :: len(sizes)]))
    turns = range(best, ROUNDS, len(sizes))
    share, cpu_share = (
        statistics.median(each["batching"][i] / each["bare"][i] for i in turns)
        for each in (rates, cpu)
    )
    gain = statistics.median(
        on / off for on, off in zip(rates["batching"], rates["single"], strict=True)
    )
    yield figure(
        "throughput of 16 clients, batching on / the bare model's best batch",
        share,
        ">= 0.9, or >= 1.3 times the same without batching",
        share >= 0.9 or gain >= 1.3,
        by_cpu_time=round(1 / cpu_share, 3),
        against_no_batching=round(gain, 3),
        best_batch=sizes[best],
        images_per_second={name: round(statistics.median(all_), 1) for name, all_ in rates.items()},
        cpu_ms_an_image={name: round(statistics.median(all_), 1) for name, all_ in cpu.items()},
    )


def _new_version(bench: "Bench") -> Iterator[dict[str, Any]]:
    with bench.server() as served:
        steady, _ = load(served, bench, clients=8, seconds=10)

        def push() -> None:
            time.sleep(2)
            bench.push()
            served.wait_for_version(2)

        swapped, _ = load(served, bench, clients=8, seconds=None, during=push)
        median = statistics.median(steady.ms)
        ratio = quantile(swapped.ms, 0.99) / median
        failed = len(swapped.errors)
        yield figure("failed requests while a new version comes", failed, "0", failed == 0)
        yield figure(
            "p99 latency while a new version comes / median before",
            ratio,
            "<= 3",
            ratio <= 3,
            requests=len(swapped.ms),
            p99_before=round(quantile(steady.ms, 0.99) / median, 2),
        )


# --- What the benchmarks of the server share -----------------------------------------------------


@dataclass
class Done:
    """What clients saw."""

    ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    seconds: float = 0.0


@dataclass(frozen=True)
class Served:
    """A server process."""

    process: subprocess.Popen[str]
    port: int

    def cpu_seconds(self) -> float:
        """CPU time of the server and of this process, which other load hardly changes."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system + time.process_time()

    def channel(self) -> AbstractContextManager[grpc.Channel]:
        """A connection of its own."""
        return grpc.insecure_channel(
            f"127.0.0.1:{self.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def stub(self, channel: grpc.Channel) -> Any:
        """PredictionService's."""
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        return prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def wait_for_version(self, number: int) -> None:
        """Until it is the one that answers and the one before is gone."""
        from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

        ask = get_model_status_pb2.GetModelStatusRequest()
        ask.model_spec.name = MODEL
        with self.channel() as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            while True:
                states = {s.version: s.state for s in stub.GetModelStatus(ask).model_version_status}
                if states.get(number) == 30 and 30 not in {states[n] for n in states if n < number}:
                    return
                time.sleep(0.1)


class Bench:
    """A model, images, and servers of it."""

    def __enter__(self) -> "Bench":
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name)
        self._versions = 0
        self._model = self.root / "model"
        subprocess.run(
            [sys.executable, "-m", "tests.bench.serving", str(self._model)], cwd=ROOT, check=True
        )
        self.images, self.source = _images(self.root)
        self._requests = [request_of(image) for image in self.images]
        self._sent = 0
        self.push()
        from cxrflow.serving.servable import Servable

        self._bare = Servable(self._model)
        for size in (1, 4, 8, 16):
            self.bare(size)
        return self

    def __exit__(self, *_: object) -> None:
        self._bare.close()
        self._folder.cleanup()

    def push(self) -> None:
        """Adds the next version to the root, as the Pusher would."""
        from cxrflow.schema.store.manifest import Manifest, file_paths, read_file, write_manifest

        self._versions += 1
        aside = self.root / "serving" / MODEL / f".push-{self._versions}"
        shutil.copytree(self._model, aside)
        files = tuple(read_file(aside, path) for path in file_paths(aside))
        write_manifest(aside, Manifest(self._versions, files))
        aside.rename(aside.with_name(str(self._versions)))

    def request(self) -> Any:
        """A PredictRequest; the images take turns."""
        self._sent += 1
        return self._requests[self._sent % len(self._requests)]

    def again(self) -> None:
        """The next image is the last one once more."""
        self._sent -= 1

    def bare(self, size: int) -> None:
        """Decode and model in this process."""
        some = [self.images[(self._sent + 1 + i) % len(self.images)] for i in range(size)]
        self._sent += size
        inputs = {"image_bytes": np.array(some, object)}
        self._bare.run("serving_default", inputs, ("logits", "probabilities"))

    @contextmanager
    def server(self, config: str = "", rest_port: int = 0) -> Iterator[Served]:
        """`cxrflow serve` on a free port, with a YAML configuration; REST's port if it matters."""
        settings = self.root / "server.yaml"
        settings.write_text(config)
        command = ["-m", "cxrflow.pipeline.cli", "serve", "--root", str(self.root / "serving")]
        command += ["--port", "0", "--rest-port", str(rest_port), "--config", str(settings)]
        process = subprocess.Popen(
            [sys.executable, *command, "--log", str(self.root / "serve.log")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout
            port = 0
            for line in process.stdout:
                if line.startswith("gRPC "):
                    port = int(line.rsplit(":", 1)[1])
                if line.startswith("log: "):
                    break
            if not port:
                raise RuntimeError(f"no server: {(self.root / 'serve.log').read_text()[-2000:]}")
            yield Served(process, port)
        finally:
            process.terminate()
            process.wait(_START_SECONDS)
            process.stdout.close()


def load(
    served: Served,
    bench: Bench,
    clients: int,
    seconds: float | None,
    rate: float = 0.0,
    during: Callable[[], None] | None = None,
) -> tuple[Done, list[Done]]:
    """Clients that send one request after another, or `rate` a second at even distances.

    Ends after `seconds`, or when `during` has returned and two seconds have passed. With a rate,
    latency counts from when a request was due, so that a slow server can't hide behind its clients.
    """
    stop = threading.Event()
    started = time.perf_counter()
    each = [Done() for _ in range(clients)]
    turn = iter(range(10**9))
    lock = threading.Lock()

    def client(done: Done) -> None:
        with served.channel() as channel:
            stub = served.stub(channel)
            while not stop.is_set():
                began = time.perf_counter()
                if rate:
                    with lock:
                        began = started + next(turn) / rate
                    if stop.wait(max(0.0, began - time.perf_counter())):
                        return
                try:
                    answer = stub.Predict(bench.request(), timeout=60)
                    done.ms.append((time.perf_counter() - began) * 1000)
                    done.versions.add(answer.model_spec.version.value)
                except grpc.RpcError as error:
                    done.errors.append(f"{error.code().name}: {error.details()}")

    threads = [threading.Thread(target=client, args=(done,)) for done in each]
    for thread in threads:
        thread.start()
    if during:
        during()
        time.sleep(2)
    else:
        time.sleep(seconds or 0)
    stop.set()
    for thread in threads:
        thread.join()
    all_done = Done(seconds=time.perf_counter() - started)
    for done in each:
        all_done.ms += done.ms
        all_done.errors += done.errors
        all_done.versions |= done.versions
    return all_done, each


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of them don't exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _ms(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def _bare_rate(bench: Bench, size: int, seconds: float) -> tuple[float, int]:
    """Images a second, two batches at a time, as the server runs them; and how many there were."""
    counts = [0, 0]
    started = time.perf_counter()

    def work(i: int) -> None:
        while time.perf_counter() < started + seconds:
            bench.bare(size)
            counts[i] += size

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started), sum(counts)


def _images(root: Path) -> tuple[list[bytes], str]:
    """Sixteen PNGs, those closest to 400 KB."""
    folder, source = SHARED / "data" / "nih-raw" / "images", "nih-raw"
    if not folder.is_dir():
        from cxrflow.components.ingest.phantom import write_phantoms

        write_phantoms(root / "phantoms", patients=10, seed=0, workers=1)
        folder, source = root / "phantoms" / "images", "synthetic phantoms"
    images = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    return sorted(images, key=lambda image: abs(len(image) - BYTES))[:16], source


def request_of(image: bytes) -> Any:
    """A PredictRequest with one image."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    return request


def _write_model(folder: Path) -> None:
    """A MobileNet as the Trainer writes one, with random weights."""
    import keras

    from cxrflow.components.model.assets import write_assets
    from cxrflow.components.model.calibration import Calibration
    from cxrflow.components.model.signatures import export
    from cxrflow.schema.classes import DEFAULT_CLASSES
    from cxrflow.schema.model_json import CompactFormat, ModelJson

    classes = len(DEFAULT_CLASSES)
    backbone = keras.applications.MobileNet(
        input_shape=(SIDE, SIDE, 3), include_top=False, weights=None
    )
    features = backbone(keras.layers.Rescaling(1 / 127.5, -1.0)(backbone.input))
    network = keras.Model(
        backbone.input,
        {
            "attention": keras.layers.Conv2D(classes, 1, activation="sigmoid")(features),
            "logits": keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(features)),
        },
    )
    export(
        lambda pixels: network(pixels, training=False),
        Calibration.identity(classes),
        CompactFormat(512, "jpeg", 95),
        SIDE,
        folder,
    )
    write_assets(folder, ModelJson(tuple(DEFAULT_CLASSES), image_size=SIDE))


if __name__ == "__main__":
    _write_model(Path(sys.argv[1]))
