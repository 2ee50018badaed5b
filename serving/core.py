"""What requests ask for, whichever way they come: the semantics of TF Serving.

Two things differ from tensorflow_serving/model_servers/server_core.cc and core/basic_manager.cc: a
request that names neither version nor label gets the stable version, where TF Serving takes the
highest one loaded, so that a canary sees only requests that ask for it; and Classify is answered
(see `Core.classify`), where TF Serving refuses signatures that weren't exported for it.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import Message
from tensorflow_serving.apis import classification_pb2, model_pb2, predict_pb2

from cxrflow.serving import open_inference, rest_json
from cxrflow.serving.batching import Task, expired
from cxrflow.serving.manager import Manager
from cxrflow.serving.places import Places
from cxrflow.serving.questions import Question, Questions, fill_spec
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.status import invalid
from cxrflow.serving.tensors import distinct, to_proto

T = TypeVar("T")


@dataclass
class Call:
    """How long a request may take. A client that goes cancels the coroutine that answers it."""

    deadline: float  # of time.monotonic
    version: int | None = None  # that answers, once it is known


Values = dict[str, np.ndarray]


class Core:
    """Answers requests with the models of a Manager. Every method raises StatusError.

    The coroutines run on the event loop and leave it for whatever takes long: parsing and checking
    to a few threads, the model to its own.
    """

    def __init__(
        self,
        manager: Manager,
        config: ServerConfig,
        observers: Sequence[Callable[[Question, Values], None]] = (),
    ):
        """`observers` are told each question and its outputs; they return at once."""
        self.manager, self._config, self._observers = manager, config, observers
        self._questions = Questions(manager, config)
        batching = config.batching
        most = batching.max_queue + batching.threads * batching.max_batch_size
        self.places = Places(most, config.refusal_pause)
        self._pool = ThreadPoolExecutor(max(4, os.cpu_count() or 1), thread_name_prefix="checks")

    def close(self) -> None:
        """Ends the threads that check requests; none may be under way."""
        self._pool.shutdown()

    async def predict(self, read: Callable[[], predict_pb2.PredictRequest], call: Call) -> Message:
        """PredictionService.Predict; `read` parses the request."""

        def answer(question: Question, values: Values) -> Message:
            response = predict_pb2.PredictResponse()
            fill_spec(response.model_spec, question.version, question.signature)
            for output, value in values.items():
                response.outputs[output].CopyFrom(to_proto(value))
            return response

        return await self._answered(
            lambda leases: self._questions.predict(read(), leases), answer, call
        )

    async def predict_json(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> bytes:
        """REST's :predict; the body that answers another one."""
        by_row = False

        def ask(leases: ExitStack) -> Question:
            nonlocal by_row
            question, by_row = self._questions.predict_json(spec, body, leases)
            return question

        return await self._answered(
            ask, lambda _, values: rest_json.from_outputs(values, by_row), call
        )

    async def classify(
        self, read: Callable[[], classification_pb2.ClassificationRequest], call: Call
    ) -> Message:
        """PredictionService.Classify: raw tf.Examples through the signature `examples`.

        Scores are its probabilities, labels the classes of assets.extra/model.json. The signature
        may be left out. `read` parses the request.
        """

        def answer(question: Question, values: Values) -> Message:
            response = classification_pb2.ClassificationResponse()
            fill_spec(response.model_spec, question.version, question.signature)
            for row in _named_scores(question, values):
                found = response.result.classifications.add()
                for label, score in row:
                    found.classes.add(label=label, score=score)
            return response

        return await self._answered(
            lambda leases: self._questions.classify(read(), leases), answer, call
        )

    async def classify_json(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> bytes:
        """REST's :classify."""
        return await self._answered(
            lambda leases: self._questions.classify_json(spec, body, leases),
            lambda question, values: rest_json.from_classes(_named_scores(question, values)),
            call,
        )

    async def infer_json(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> bytes:
        """The Open Inference Protocol's infer, with the default signature."""
        request_id = None

        def ask(leases: ExitStack) -> Question:
            nonlocal request_id
            question, request_id = self._questions.infer_json(spec, body, leases)
            return question

        def answer(question: Question, values: Values) -> bytes:
            answered = model_pb2.ModelSpec()
            fill_spec(answered, question.version)
            return rest_json.dump(open_inference.infer_response(answered, request_id, values))

        return await self._answered(ask, answer, call)

    async def _answered(
        self,
        ask: Callable[[ExitStack], Question],
        answer: Callable[[Question, Values], T],
        call: Call,
    ) -> T:
        """Checks, computes and answers, with one of the places and a lease of the version."""
        await self.places.require()
        with self.places.take(), ExitStack() as leases:
            question = await self._in_thread(ask, leases)
            call.version = question.version.number
            values = await self._run(question, call)
            answered = answer(question, values)
            for observe in self._observers:
                observe(question, values)
            return answered

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Runs `work` in one of the checking threads; if cancelled, only once it has ended."""
        future = self._pool.submit(work, *args)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait({waiting})
            raise
        finally:
            # An error's traceback holds this frame: with the futures, which hold the error, the
            # request's bytes would stay until Python looks for cycles.
            del future, waiting

    async def _run(self, question: Question, call: Call) -> Values:
        """Queues the request, in pieces of the largest batch, and waits for the answer."""
        version, inputs = question.version, question.inputs
        assert version.servable and version.batcher
        batchable = version.servable.batches(question.signature)
        rows = len(next(iter(inputs.values()))) if batchable else 1
        if batchable and any(len(value) != rows for value in inputs.values()):
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        inputs, which = distinct(inputs) if batchable else (inputs, None)
        rows = rows if which is None else int(which.max()) + 1
        largest = self._config.batching.max_batch_size
        futures: list[asyncio.Future[Values]] = []
        try:
            for start in range(0, rows, largest):
                piece = (
                    {name: value[start : start + largest] for name, value in inputs.items()}
                    if rows > largest
                    else inputs
                )
                task = Task(question.signature, piece, question.outputs, call.deadline, batchable)
                futures.append(asyncio.wrap_future(version.batcher.submit(task)))
            answers = await _all(futures, call.deadline)
        finally:
            while futures:  # emptied, so that there is no cycle, as in _in_thread
                _forget(futures.pop())
        joined = (
            answers[0]
            if len(answers) == 1
            else {name: np.concatenate([a[name] for a in answers]) for name in question.outputs}
        )
        return joined if which is None else {name: value[which] for name, value in joined.items()}


async def _all(futures: list["asyncio.Future[Values]"], deadline: float) -> list[Values]:
    """The results, in their order; raises the first error that comes, or StatusError.

    Not asyncio.gather: cancelled while one of its futures ends, it logs what nobody can catch.
    """
    left = deadline - time.monotonic()
    done, waiting = await asyncio.wait(
        futures, timeout=max(0.0, left), return_when=asyncio.FIRST_EXCEPTION
    )
    try:
        if failed := next((error for future in done if (error := future.exception())), None):
            raise failed
        if waiting:
            raise expired()
        return [future.result() for future in futures]
    finally:
        failed = None  # no cycle, as in _in_thread
        done.clear()
        waiting.clear()


def _forget(future: "asyncio.Future[Values]") -> None:
    """Cancels it; asyncio logs the error of one that nobody looked at."""
    if not future.cancel() and not future.cancelled():
        future.exception()


def _named_scores(question: Question, values: Values) -> list[list[tuple[str, float]]]:
    rows = values["probabilities"].tolist()
    return [list(zip(question.version.classes, row, strict=True)) for row in rows]
