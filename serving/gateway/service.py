"""The gateway at work: from the queue's folders to the model and on to the destinations."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cxrflow.schema.processes import set_by_signals
from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.gateway.answer import Answering, Unanswerable
from cxrflow.serving.gateway.audit import AuditLog
from cxrflow.serving.gateway.decide import Judge, ServersFault
from cxrflow.serving.gateway.deliver import Delivery
from cxrflow.serving.gateway.later import Later, pause
from cxrflow.serving.gateway.metrics import Metrics
from cxrflow.serving.gateway.queue import Batch, Queue
from cxrflow.serving.gateway.receive import Receiver
from cxrflow.serving.gateway.settings import GatewayConfig

_LOOK_SECONDS = 0.05  # between two looks for complete studies
_RESCAN_SECONDS = 10.0  # between two looks for what operators put back
_FORGET_SECONDS = 600.0
_FAULTS = 3  # of our own in a row that put a study aside

logger = logging.getLogger("cxrflow.gateway")


@dataclass(frozen=True)
class Question:
    """A batch that the model is to be asked about."""

    batch: Batch
    since: float  # time.monotonic
    attempts: int = 0
    faults: int = 0  # attempts that failed by our own fault


class Gateway:
    """Everything between the two networks."""

    def __init__(self, config: GatewayConfig):
        """Nothing listens yet.

        Raises:
            CxrflowError: the key, the audit log or a file of a destination can't be read or made.
        """
        self._config = config
        names = Pseudonyms.read(Path(config.pseudonym_key), "gateway: pseudonym_key")
        audit = AuditLog(Path(config.audit))
        audit.require()
        self._queue = Queue(Path(config.queue))
        self._metrics = Metrics(self._queue)
        self._judge = Judge(config.ask, names, config.attention)
        kinds = {kind for one in config.destinations for kind in one.results}
        self._answering = Answering(self._judge, names, config.results, audit, self._metrics, kinds)
        self._receiver = Receiver(config, self._queue, self._metrics)
        self._questions: Later[Question] = Later()
        self._deliveries = {
            one.name: Delivery(config, one, self._metrics, self._delivered)
            for one in config.destinations
        }
        self._lock = threading.Lock()
        # What is under way: batches to be asked, and of those to be sent, where they aren't yet.
        self._asking: set[Batch] = set()
        self._open: dict[Batch, set[str]] = {}
        self._refused: dict[Batch, list[str]] = {}
        self._stop = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._receiver.port

    @contextlib.contextmanager
    def running(self) -> Iterator["Gateway"]:
        """Works inside the block, beginning with what an earlier process left."""
        with self._queue.opened(), self._metrics_page():
            threads = [
                threading.Thread(target=self._ask, name=f"ask {number}")
                for number in range(self._config.workers)
            ]
            threads.append(threading.Thread(target=self._look, name="look"))
            self._rescan()
            self._receiver.start()
            for thread in threads:
                thread.start()
            for delivery in self._deliveries.values():
                delivery.start()
            try:
                yield self
            finally:
                self._receiver.stop()
                self._stop.set()
                self._questions.close()
                for thread in threads:
                    thread.join()
                for delivery in self._deliveries.values():
                    delivery.stop()
                self._judge.close()

    def _metrics_page(self) -> contextlib.AbstractContextManager[None]:
        host, port = self._config.metrics_host, self._config.metrics_port
        return self._metrics.served(host, port) if port else contextlib.nullcontext()

    def _look(self) -> None:
        """Finds complete studies, what operators put back, and what may be forgotten."""
        rescanned = forgot = time.monotonic()
        while not self._stop.wait(_LOOK_SECONDS):
            with _going_on("looking through the queue"):
                collect = self._config.collect
                for batch in self._queue.complete(collect.quiet_seconds, collect.most_seconds):
                    logger.info("%s: complete, %d files", batch, len(batch.images()))
                    self._take_question(batch)
                now = time.monotonic()
                if now - rescanned > _RESCAN_SECONDS:
                    rescanned = now
                    self._rescan()
                if now - forgot > _FORGET_SECONDS:
                    forgot = now
                    self._queue.forget(self._config.keep_days)

    def _rescan(self) -> None:
        for batch in self._queue.batches("waiting"):
            self._take_question(batch)
        for batch in self._queue.batches("asked"):
            self._take_parcel(batch)

    def _take_question(self, batch: Batch) -> None:
        with self._lock:
            new = batch not in self._asking
            self._asking.add(batch)
        if new:
            self._questions.put(Question(batch, time.monotonic()))

    def _take_parcel(self, batch: Batch) -> None:
        with self._lock:
            new = batch not in self._open
            if new:
                self._open[batch] = set(self._deliveries)
        if new:
            for delivery in self._deliveries.values():
                delivery.put(batch)

    def _ask(self) -> None:
        while (question := self._questions.get()) is not None:
            batch = question.batch
            if not batch.path.is_dir():  # it was looked up as it went on, or an operator took it
                self._forget_question(batch)
                continue
            try:
                self._answering.answer(batch)
                asked = self._queue.move(batch, "asked")
            except ServersFault as error:
                self._ask_again(question, f"the model isn't asked: {error}")
                continue
            except Unanswerable as error:
                self._fail(batch, str(error))
            except OSError as error:  # a full or lost disk: no fault of the study's
                where = f"{error.filename}: " if error.filename else ""
                self._ask_again(question, f"results aren't written: {where}{error.strerror}")
                continue
            except Exception as error:
                line = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
                question = replace(question, faults=question.faults + 1)
                if question.faults < _FAULTS:
                    self._ask_again(question, line)
                    continue
                self._fail(batch, line)
            else:
                self._take_parcel(asked)
            self._forget_question(batch)

    def _ask_again(self, question: Question, why: str) -> None:
        """Puts a question back, or gives it up."""
        self._metrics.failed_asks.inc()
        retry, attempts = self._config.retry, question.attempts + 1
        if retry.give_up_seconds and time.monotonic() - question.since > retry.give_up_seconds:
            self._fail(question.batch, f"gave up after {attempts} attempts: {why}")
            self._forget_question(question.batch)
            return
        logger.warning("%s: attempt %d: %s", question.batch, attempts, why)
        question.batch.note({"attempts": attempts, "reason": why})
        self._questions.put(replace(question, attempts=attempts), pause(attempts, retry))

    def _forget_question(self, batch: Batch) -> None:
        with self._lock:
            self._asking.discard(batch)

    def _delivered(self, batch: Batch, destination: str, refused: list[str]) -> None:
        """A destination has a batch's results, or never will."""
        with self._lock:
            self._refused.setdefault(batch, []).extend(refused)
            self._open[batch].discard(destination)
            if self._open[batch]:
                return
            reasons = self._refused.pop(batch)
        if not batch.path.is_dir():
            pass  # as above
        elif reasons:
            self._fail(batch, "; ".join(reasons))
        else:
            with _going_on(f"{batch}: moving it on"):
                logger.info("%s: answered", self._queue.move(batch, "answered"))
        with self._lock:
            del self._open[batch]

    def _fail(self, batch: Batch, reason: str) -> None:
        self._metrics.failed_studies.inc()
        with _going_on(f"{batch}: putting it aside"):
            logger.error("%s: %s", self._queue.fail(batch, reason), reason)


@contextlib.contextmanager
def _going_on(what: str) -> Iterator[None]:
    """The service goes on, whatever one study brings."""
    try:
        yield
    except Exception as error:
        logger.error("%s: %s: %s", what, type(error).__name__, error)


def serve(config: GatewayConfig, ready: Callable[[Gateway], None]) -> None:
    """Works until SIGTERM or SIGINT; `ready` is called once it listens."""
    stop = threading.Event()
    set_by_signals(stop)
    with Gateway(config).running() as gateway:
        ready(gateway)
        stop.wait()
