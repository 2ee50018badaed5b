"""Does a model answer from a server as it did in training, quickly and within its memory?"""

import json
import math
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from cxrflow.components.images.records import split_records
from cxrflow.components.publish.push import push
from cxrflow.components.publish.report import CheckReport
from cxrflow.components.publish.settings import ServingCheckConfig
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import IMAGE, IMAGE_ID
from cxrflow.schema.memory import give_back
from cxrflow.schema.processes import module_command
from cxrflow.schema.progress import report

_NAME = "candidate"  # under which the model is served
_SHOWN = 3  # images named in a reason
_DEADLINE = 60.0  # seconds for one request


@dataclass(frozen=True)
class Sample:
    """One image of the eval split, as it came and as the Trainer saw it."""

    image_id: str
    original: bytes  # PNG or JPEG
    transformed: bytes  # serialized transformed tf.Example


def read_samples(examples: Path, transformed: Path, count: int) -> list[Sample]:
    """The first `count` images of a split.

    Args:
        examples: folder with the split's raw examples.
        transformed: folder with the same split's transformed examples, in any order.
        count: how many; fewer where the split has fewer.

    Raises:
        CxrflowError: the split is empty, or Transform left an image out.
    """
    originals: dict[str, bytes] = {}
    for serialized in split_records(examples).as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        image_id = features[IMAGE_ID].bytes_list.value[0].decode()
        originals[image_id] = features[IMAGE].bytes_list.value[0]
        if len(originals) == count:
            break
    if not originals:
        raise CxrflowError(f"no examples in {examples}: the serving check needs some of eval")
    samples: dict[str, Sample] = {}
    for serialized in split_records(transformed).as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        image_id = features[IMAGE_ID].bytes_list.value[0].decode()
        if image_id in originals:
            samples[image_id] = Sample(image_id, originals[image_id], serialized)
            if len(samples) == len(originals):
                return [samples[name] for name in originals]
    missing = sorted(originals.keys() - samples.keys())
    raise CxrflowError(f"{missing[0]} is not among the transformed examples in {transformed}")


def check_serving(
    saved_model: Path, samples: Sequence[Sample], config: ServingCheckConfig, work_dir: Path
) -> CheckReport:
    """Serves a model in a process of its own and asks it over gRPC.

    Args:
        saved_model: the candidate.
        samples: what is sent, and what the Trainer's own outputs are computed from.
        config: the budget.
        work_dir: an empty folder for a copy of the model and the server's log.
    """
    found = CheckReport()
    try:
        expected = _trainers_outputs(saved_model, samples)
    except Exception as error:  # whatever TensorFlow raises, it is the model's fault
        found.reasons.append(f"the model can't be run: {_first_line(error)}")
        return found
    give_back()  # the model, before a second process loads it
    try:
        push(saved_model, work_dir / _NAME)
        with _server(work_dir, config.start_seconds) as server:
            found.start_seconds = server.start_seconds
            _compare(server, samples, expected, config, found)
            if found.images:
                _time(server, samples, config, found)
            found.memory_mb = _peak_memory_mb(server.process.pid)
    except (CxrflowError, grpc.RpcError) as error:
        found.reasons.append(_explain(error))
    if found.memory_mb is not None and found.memory_mb > config.max_memory_mb:
        found.reasons.append(
            f"the server took {found.memory_mb:.0f} MB, above {config.max_memory_mb} "
            "(serving_check.max_memory_mb)"
        )
    return found


@dataclass(frozen=True)
class _Server:
    process: "subprocess.Popen[str]"
    stub: prediction_service_pb2_grpc.PredictionServiceStub
    start_seconds: float

    def probabilities(self, image: bytes) -> np.ndarray:
        """The answer for one image, float [C]."""
        request = predict_pb2.PredictRequest(output_filter=["probabilities"])
        request.model_spec.name = _NAME
        request.model_spec.signature_name = "serving_default"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
        response = self.stub.Predict(request, timeout=_DEADLINE)
        return tf.make_ndarray(response.outputs["probabilities"])[0]


@contextmanager
def _server(root: Path, start_seconds: float) -> Iterator[_Server]:
    """Raises CxrflowError if the server doesn't come up; says why."""
    log = root / "server.log"
    started = time.monotonic()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            module_command("cxrflow.components.publish.candidate", str(root)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout and process.stdin  # pipes
    timer = threading.Timer(start_seconds, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
        took = time.monotonic() - started
        timer.cancel()
        said = json.loads(line) if line else {"error": _last_words(log, took, start_seconds)}
        if "error" in said:
            raise CxrflowError(f"the server doesn't take the model: {said['error']}")
        # A proxy of the environment's doesn't know this machine's own servers.
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"127.0.0.1:{said['port']}", options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            yield _Server(process, stub, round(took, 2))
    finally:
        timer.cancel()
        process.stdin.close()  # it stops at the end of its input
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _compare(
    server: _Server,
    samples: Sequence[Sample],
    expected: np.ndarray,
    config: ServingCheckConfig,
    found: CheckReport,
) -> None:
    wrong, largest = [], 0.0
    for sample, trainers in zip(samples, expected, strict=True):
        served = server.probabilities(sample.original)
        found.images += 1
        report(found.images, len(samples) + config.requests, "requests")
        difference = _difference(served, trainers)
        largest = max(largest, difference)
        if difference > config.max_difference:
            wrong.append(f"{sample.image_id} by {difference:.4f}")
    found.max_difference = largest if math.isfinite(largest) else None
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        found.reasons.append(
            f"{len(wrong)} of {found.images} answers differ from the Trainer's by more than "
            f"{config.max_difference:g} (serving_check.max_difference): "
            f"{', '.join(wrong[:_SHOWN])}{more}"
        )


def _time(
    server: _Server, samples: Sequence[Sample], config: ServingCheckConfig, found: CheckReport
) -> None:
    """Latency of single images, one after another, as the client sees it."""
    latencies = []
    for i in range(config.requests):
        image = samples[i % len(samples)].original
        started = time.perf_counter()
        server.probabilities(image)
        latencies.append((time.perf_counter() - started) * 1000)
        report(len(samples) + i + 1, len(samples) + config.requests, "requests")
    median, p95 = np.percentile(latencies, [50, 95])
    found.latency_ms_median, found.latency_ms_p95 = round(float(median), 2), round(float(p95), 2)
    if p95 > config.max_latency_ms:
        found.reasons.append(
            f"5 % of answers take {p95:.1f} ms or more, above {config.max_latency_ms:g} "
            "(serving_check.max_latency_ms)"
        )


def _difference(served: np.ndarray, trainers: np.ndarray) -> float:
    """The largest between two answers, [C] each; infinite where they can't be compared."""
    if served.shape != trainers.shape or not np.isfinite([served, trainers]).all():
        return math.inf
    return float(np.max(np.abs(served - trainers)))


def _trainers_outputs(saved_model: Path, samples: Sequence[Sample]) -> np.ndarray:
    """Probabilities, float [N, C], of what Transform wrote; on the CPU, as in the server."""
    with tf.device("/CPU:0"):
        model = tf.saved_model.load(str(saved_model))
        signature = model.signatures["transformed_examples"]
        return np.concatenate(
            [signature(tf.constant([s.transformed]))["probabilities"].numpy() for s in samples]
        )


def _peak_memory_mb(pid: int) -> float | None:
    """The peak of a process's resident memory, where there is a /proc to tell."""
    # Not resource.getrusage: on Linux a child's maximum includes its parent's size at the fork.
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return round(int(match[1]) / 1024, 1) if match else None


def _last_words(log: Path, took: float, start_seconds: float) -> str:
    if took >= start_seconds:
        return f"no answer within {start_seconds:g} s (serving_check.start_seconds)"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it ended without a word")


def _explain(error: Exception) -> str:
    if isinstance(error, grpc.RpcError):
        return f"a request failed: {error.code().name}: {_first_line(error.details())}"
    return str(error)


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
