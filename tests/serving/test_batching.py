"""The queue: what shares a run, who gets which rows, and who fails."""

import threading
import time
from concurrent.futures import CancelledError
from itertools import chain

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrflow.serving.batching import Batcher, Task
from cxrflow.serving.settings import BatchingConfig
from cxrflow.serving.status import StatusError


class Model:
    """Doubles its input; fails on 13; waits while `gate` is closed."""

    def __init__(self):
        self.runs: list[list[int]] = []
        self.started: list[float] = []  # of time.monotonic
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def run(self, signature, inputs, outputs):
        self.started.append(time.monotonic())
        self.entered.release()
        assert self.gate.wait(60)
        rows = inputs["x"].tolist()
        self.runs.append(rows)
        if 13 in rows:
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, "unlucky")
        return {name: inputs["x"] * 2 for name in outputs}


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    made = []

    def make(**config):
        made.append(Batcher(model.run, BatchingConfig(**{"threads": 1} | config)))
        return made[-1]

    yield make
    model.gate.set()
    for one in made:
        one.close()


def task(*rows, signature="s", outputs=("y",), seconds=60.0, batchable=True):
    inputs = {"x": np.array(rows)}
    return Task(signature, inputs, outputs, time.monotonic() + seconds, batchable)


def busy(model, batcher):
    """Occupies the only thread with a first request."""
    model.gate.clear()
    first = batcher.submit(task(0))
    assert model.entered.acquire(timeout=60)
    return first


def answer(future):
    return future.result(60)["y"].tolist()


def test_what_waits_together_runs_together(model, batcher):
    batcher = batcher(max_batch_size=4)
    first = busy(model, batcher)
    futures = [batcher.submit(task(i)) for i in range(1, 7)]
    model.gate.set()
    assert [answer(f) for f in [first, *futures]] == [[2 * i] for i in range(7)]
    assert model.runs == [[0], [1, 2, 3, 4], [5, 6]]


@pytest.mark.parametrize(
    "other",
    [
        {"signature": "t"},
        {"outputs": ("y", "z")},
        {"batchable": False},
    ],
)
def test_only_like_requests_share_a_run(model, batcher, other):
    batcher = batcher(max_batch_size=8)
    busy(model, batcher)
    futures = [batcher.submit(t) for t in (task(1), task(2, **other), task(3))]
    model.gate.set()
    assert [answer(f) for f in futures] == [[2], [4], [6]]
    assert model.runs == [[0], [1, 3], [2]]


def test_a_bad_request_fails_alone(model, batcher):
    batcher = batcher(max_batch_size=16)
    busy(model, batcher)
    futures = [batcher.submit(task(i)) for i in (11, 12, 13, 14)]
    model.gate.set()
    assert [answer(futures[i]) for i in (0, 1, 3)] == [[22], [24], [28]]
    with pytest.raises(StatusError, match="unlucky"):
        futures[2].result(10)
    assert model.runs == [[0], [11, 12, 13, 14], [11], [12], [13], [14]]


def test_requests_that_nobody_waits_for_are_not_run(model, batcher):
    batcher = batcher()
    busy(model, batcher)
    late, gone = batcher.submit(task(1, seconds=0.01)), batcher.submit(task(2))
    assert gone.cancel()
    time.sleep(0.05)
    model.gate.set()
    with pytest.raises(StatusError) as caught:
        late.result(10)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(CancelledError):
        gone.result(0)
    batcher.close()
    assert model.runs == [[0]]


def test_a_full_queue_says_so(model, batcher):
    batcher = batcher(max_queue=2)
    busy(model, batcher)
    waiting = [batcher.submit(task(i)) for i in (1, 2)]
    assert batcher.waiting == 2
    with pytest.raises(StatusError) as caught:
        batcher.submit(task(3))
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    model.gate.set()
    assert [answer(f) for f in waiting] == [[2], [4]]


def test_close_answers_what_is_queued_and_then_takes_no_more(model, batcher):
    batcher = batcher()
    busy(model, batcher)
    future = batcher.submit(task(1))
    model.gate.set()
    batcher.close()
    assert answer(future) == [2]
    with pytest.raises(StatusError):
        batcher.submit(task(2))


def test_a_lone_request_runs_alone_at_once(model, batcher):
    batcher = batcher(max_batch_size=2)
    assert [answer(batcher.submit(task(i))) for i in (1, 2)] == [[2], [4]]
    assert model.runs == [[1], [2]]


def test_a_lone_request_waits_for_company_only_so_long(model, batcher):
    batcher = batcher(timeout_ms=50, max_batch_size=2)
    asked = task(1)
    assert answer(batcher.submit(asked)) == [2]
    assert model.started[0] - asked.queued >= 0.05


def test_a_full_batch_does_not_wait(model, batcher):
    batcher = batcher(timeout_ms=3_600_000, max_batch_size=2)  # would never end
    pair = [batcher.submit(task(i)) for i in (2, 3)]
    assert [answer(f) for f in pair] == [[4], [6]]
    assert model.runs == [[2, 3]]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    largest=st.integers(1, 8),
    threads=st.integers(1, 3),
)
def test_everyone_gets_their_own_rows(sizes, largest, threads):
    model = Model()
    batcher = Batcher(
        model.run, BatchingConfig(max_batch_size=largest, threads=threads, max_queue=64)
    )
    numbers = iter(range(100, 10_000))
    rows = [[next(numbers) for _ in range(size)] for size in sizes]
    futures = [batcher.submit(task(*mine)) for mine in rows]
    assert [answer(f) for f in futures] == [[2 * x for x in mine] for mine in rows]
    batcher.close()
    assert sorted(chain(*model.runs)) == sorted(chain(*rows))
    assert all(len(run) <= largest or run in rows for run in model.runs)
