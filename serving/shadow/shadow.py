"""Asks a second version what clients asked, and logs both answers.

The client's answer is on its way before anything is done here: an offer is put into a short queue,
or dropped. One thread hands it to a process of the lowest priority (see `worker`).
"""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from prometheus_client.core import CounterMetricFamily, Metric

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.manager import Manager
from cxrflow.serving.questions import Question
from cxrflow.serving.servable import DEFAULT_SIGNATURE, EXAMPLES
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.shadow.messages import Ask, Said
from cxrflow.serving.shadow.pairs import PROBABILITIES, UNLIKE, Told, has_classes, pairs
from cxrflow.serving.status import StatusError

logger = logging.getLogger(__name__)

# Why a request was not asked a second time.
FULL = "full"  # too many wait
FAILED = "failed"  # the second version gave no answer
NO_VERSION = "no version"  # none has the label, or the client asked that one itself
Values = dict[str, np.ndarray]
_WORKER = "cxrflow.serving.shadow.worker"
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "0"}  # the GPU is the first's


@dataclass(frozen=True)
class _Offer:
    model: str
    signature: str
    inputs: Values
    first: Told
    number: int  # of the second version
    info: str  # its model.json
    bytes: int


class Shadow:
    """The queue, the thread and the process; nothing of it is waited for by a request."""

    def __init__(self, manager: Manager, config: ServerConfig):
        """Opens the log.

        Raises:
            CxrflowError: it can't be written.
        """
        self._manager, self._config, self._of = manager, config, config.shadow
        self._log = _rotating(Path(self._of.log), config)
        self._queue: deque[_Offer] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._worker: _Worker | None = None
        self._complaint = ""
        self.asked: Counter[str] = Counter()  # by model
        self.images: Counter[str] = Counter()  # of these requests
        self.changed: Counter[str] = Counter()  # images with another decision
        self.dropped: Counter[tuple[str, str]] = Counter()  # by model and reason
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        """Begins to ask."""
        self._thread.start()

    def offer(self, question: Question, values: Values) -> None:
        """A request that was answered; returns at once, whatever becomes of it."""
        version = question.version
        arrays = question.inputs.values()
        if (
            PROBABILITIES not in values
            or question.signature not in (DEFAULT_SIGNATURE, EXAMPLES)
            or any(array.dtype != object for array in arrays)  # a foreign model's, no images
        ):
            return
        number = self._second(version.model)
        if number is None or number == version.number:
            self._drop(version.model, NO_VERSION)
            return
        size = sum(sum(map(len, array.flat)) for array in arrays)
        first = Told(version.number, version.info, values)
        other = self._manager.statuses(version.model).get(number)
        info = other.info if other else ""
        offer = _Offer(
            version.model, question.signature, question.inputs, first, number, info, size
        )
        with self._changed:
            room = self._bytes + size <= self._of.max_bytes
            if self._closed or len(self._queue) >= self._of.max_queue or not room:
                self._drop(version.model, FULL)
                return
            self._queue.append(offer)
            self._bytes += size
            self._changed.notify()

    def close(self) -> None:
        """Drops what waits, and ends the process."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify()
        if self._worker:
            self._worker.close()
        if self._thread.is_alive():
            self._thread.join()
        self._log.close()

    def metrics(self) -> Iterator[Metric]:
        """Requests that were asked a second time, and those that weren't."""
        asked = CounterMetricFamily(
            "cxrflow_serving_shadow_requests",
            "Requests that a second version answered too.",
            labels=["model_name"],
        )
        dropped = CounterMetricFamily(
            "cxrflow_serving_shadow_dropped",
            "Requests that a second version wasn't asked, or gave no answer to.",
            labels=["model_name", "reason"],
        )
        images = CounterMetricFamily(
            "cxrflow_serving_shadow_images",
            "Images that a second version answered too.",
            labels=["model_name"],
        )
        changed = CounterMetricFamily(
            "cxrflow_serving_shadow_changed_images",
            "Images about which the second version decides otherwise.",
            labels=["model_name"],
        )
        for model, count in self.asked.items():
            asked.add_metric([model], count)
            images.add_metric([model], self.images[model])
            changed.add_metric([model], self.changed[model])
        for (model, reason), count in self.dropped.items():
            dropped.add_metric([model, reason], count)
        yield from (asked, images, changed, dropped)

    def _second(self, model: str) -> int | None:
        try:
            return self._manager.labelled(model, self._of.label)
        except StatusError:
            return None

    def _drop(self, model: str, reason: str) -> None:
        self.dropped[model, reason] += 1

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                offer = self._queue.popleft()
                self._bytes -= offer.bytes
            self._answer(offer)

    def _answer(self, offer: _Offer) -> None:
        """Asks the second version; whatever fails is counted, and said once."""
        try:
            said = self._ask(offer)
            if said.error:
                raise CxrflowError(said.error)
            if not (has_classes(offer.first.info) and has_classes(offer.info)):
                raise CxrflowError("a version's model.json names no classes")
            second = Told(offer.number, offer.info, said.values)
            (images,) = offer.inputs.values()
            of_both = (offer.first, second, self._of.point, said.seconds)
            for pair in pairs(offer.model, images, *of_both):
                self._log.emit(logging.makeLogRecord({"msg": pair.line()}))
                self.images[offer.model] += 1
                self.changed[offer.model] += pair.differs()
        except Exception as error:
            if self._closed:
                return
            self._drop(offer.model, FAILED)
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.warning("the shadow's version %d gave no answer: %s", offer.number, error)
        else:
            self.asked[offer.model] += 1
            self._complaint = ""

    def _ask(self, offer: _Offer) -> Said:
        outputs = tuple(name for name in (PROBABILITIES, UNLIKE) if name in offer.first.values)
        folder = self._manager.root / offer.model / str(offer.number)
        ask = Ask(folder, offer.signature, offer.inputs, outputs, self._config.max_input_bytes)
        with self._changed:
            if self._closed:
                raise CxrflowError("the server stops")
            if self._worker is None or not self._worker.lives:
                self._worker = _Worker(self._of.niceness)
            worker = self._worker
        return worker.ask(ask, self._of.seconds)


class _Worker:
    """The process that runs the second version."""

    def __init__(self, niceness: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _WORKER, str(theirs.fileno()), str(niceness)],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.DEVNULL,  # no session of its own: Linux may share by session
            )
        self._connection = Connection(ours.detach())

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None and not self._connection.closed

    def ask(self, ask: Ask, seconds: float) -> Said:
        """Waits so long for an answer.

        Raises:
            CxrflowError: there is none; then the process is ended, and another one is next.
        """
        try:
            self._connection.send(ask)
            if self._connection.poll(seconds):
                said: Said = self._connection.recv()
                return said
            reason = f"it took more than {seconds:g} s"
        except (EOFError, OSError):
            reason = "its process ended"
        self.close()
        raise CxrflowError(reason)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _rotating(path: Path, config: ServerConfig) -> RotatingFileHandler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            path, maxBytes=config.log_max_bytes, backupCount=config.log_backups, encoding="utf-8"
        )
    except OSError as error:
        raise CxrflowError(f"the shadow's log {path} can't be written: {error.strerror}") from None
    os.chmod(path, 0o600)  # it tells of patients' images
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler
