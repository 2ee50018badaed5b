"""Brings results to a destination: one after the other, again and again until they are there."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cxrflow.serving.gateway.later import Later, pause
from cxrflow.serving.gateway.metrics import Metrics
from cxrflow.serving.gateway.queue import Batch
from cxrflow.serving.gateway.send import DicomSender, NotNow, Sender, Unreachable
from cxrflow.serving.gateway.settings import DestinationConfig, GatewayConfig
from cxrflow.serving.gateway.stow import StowSender

logger = logging.getLogger("cxrflow.gateway")

Done = Callable[[Batch, str, list[str]], None]  # batch, destination, why results aren't there


@dataclass(frozen=True)
class Parcel:
    """A batch on its way."""

    batch: Batch
    since: float  # time.monotonic
    attempts: int = 0


class Delivery:
    """A thread for one destination, so that none waits for another's."""

    def __init__(
        self, config: GatewayConfig, destination: DestinationConfig, metrics: Metrics, done: Done
    ):
        """`done` is called when a batch's results are there, or will never be."""
        self._to, self._retry, self._done = destination, config.retry, done
        self._failed = metrics.failed_sends.labels(destination.name)
        self._sent = metrics.sent.labels(destination.name)
        self._sender: Sender = (
            StowSender(destination) if destination.stow_url else DicomSender(config, destination)
        )
        self._parcels: Later[Parcel] = Later()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"to {destination.name}")

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is being sent."""
        self._stop.set()
        self._parcels.close()
        self._thread.join()

    def put(self, batch: Batch) -> None:
        """Takes a batch on."""
        self._parcels.put(Parcel(batch, time.monotonic()))

    def _work(self) -> None:
        down = 0  # attempts in a row that found nobody
        while (parcel := self._parcels.get()) is not None:
            there = parcel.batch.path.is_dir()  # or an operator took it
            try:
                refused = self._send(parcel.batch) if there else []
            except Unreachable as error:
                down += 1
                self._again(parcel, str(error), 0.0)
                self._stop.wait(pause(down, self._retry))
            except NotNow as error:
                self._again(parcel, str(error), pause(parcel.attempts + 1, self._retry))
            except Exception as error:
                line = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
                self._again(parcel, line, pause(parcel.attempts + 1, self._retry))
            else:
                down = 0
                if there and not refused:
                    self._sent.inc()
                self._done(parcel.batch, self._to.name, refused)

    def _send(self, batch: Batch) -> list[str]:
        there = batch.sent(self._to.name)
        missing = [
            path
            for path in batch.results()
            if path.name not in there and path.name.startswith(self._to.results)
        ]
        return self._sender.send(batch, missing) if missing else []

    def _again(self, parcel: Parcel, why: str, delay: float) -> None:
        """Puts a batch back, or gives it up."""
        self._failed.inc()
        attempts, most = parcel.attempts + 1, self._retry.give_up_seconds
        if most and time.monotonic() - parcel.since > most:
            self._done(parcel.batch, self._to.name, [f"gave up after {attempts} attempts: {why}"])
            return
        logger.warning("%s: not sent, attempt %d: %s", parcel.batch, attempts, why)
        parcel.batch.note({"destination": self._to.name, "attempts": attempts, "reason": why})
        self._parcels.put(replace(parcel, attempts=attempts), delay)
