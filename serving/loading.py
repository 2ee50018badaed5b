"""How versions come into memory: in threads of their own, within a time limit."""

import hashlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import MODEL_JSON, BadModelJson, NewerFormat, parse_model_json
from cxrflow.schema.store.manifest import MANIFEST, verify
from cxrflow.schema.store.versions import hold
from cxrflow.serving.batching import Arrays, Batcher, Run
from cxrflow.serving.servable import DEFAULT_SIGNATURE, Servable
from cxrflow.serving.settings import ServerConfig

logger = logging.getLogger(__name__)

State = get_model_status_pb2.ModelVersionStatus.State
Observe = Callable[[str, int, float], None]  # model, rows of a batch, seconds waited
ObserveRun = Callable[[str, float], None]  # model, seconds of a run


@dataclass(eq=False)
class Version:
    """One version, from the moment it is wanted to after its end."""

    model: str
    number: int
    state: int = State.START
    error: str = ""
    servable: Servable | None = None
    batcher: Batcher | None = None
    info: str = ""  # model.json
    digest: str = ""  # the SHA-256 of manifest.json
    classes: tuple[str, ...] = ()  # its
    load_seconds: float = 0.0  # that loading took
    warm_up_seconds: float = 0.0  # and then warming up
    leases: int = 0  # requests under way
    hold: int | None = None  # keeps the folder from being pruned
    fingerprint: str = ""  # of the files that were loaded or rejected
    load: "Load | None" = None  # while it is loading


@dataclass(eq=False)
class Load:
    """A version on its way into memory, in a thread that can't be stopped, only disowned."""

    model: str
    began: float  # of time.monotonic
    deadline: float
    done: threading.Event = field(default_factory=threading.Event)
    disowned: bool = False  # nobody waits for it any more: what it loads is freed at once


class Loader:
    """Loads versions; `failed` counts by model those that were rejected."""

    def __init__(
        self,
        config: ServerConfig,
        lock: threading.Condition,
        observe: Observe | None = None,
        observe_run: ObserveRun | None = None,
    ):
        """`lock` guards the versions, `observe` is told each batch and `observe_run` each run."""
        self._config, self._lock = config, lock
        self._observe, self._observe_run = observe, observe_run
        self.failed: Counter[str] = Counter()

    def start(self, version: Version, folder: Path, served: tuple[str, ...]) -> Load:
        """Starts to load a version; it will be AVAILABLE, or end with the reason.

        Args:
            version: to be filled.
            folder: of its files.
            served: the classes of the version that is served now; empty without one.
        """
        now = time.monotonic()
        load = Load(version.model, now, now + self._config.load_seconds)
        with self._lock:
            version.state, version.load = State.LOADING, load
        threading.Thread(
            target=self._bring_up,
            args=(version, load, folder, served),
            name=f"load-{version.number}",
            daemon=True,
        ).start()
        return load

    def _bring_up(
        self, version: Version, load: Load, folder: Path, classes: tuple[str, ...]
    ) -> None:
        started = time.monotonic()
        servable = handle = None
        try:
            handle = hold(folder)
            if problems := verify(folder):
                raise CxrflowError("; ".join(problems[:3]))
            config = self._config
            servable = Servable(folder, config.intra_op_threads, config.inter_op_threads)
            (info, told), loaded = _read_info(folder), time.monotonic()
            digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
            runs = servable.warm_up(
                folder, _batch_sizes(config.batching.max_batch_size), config.max_input_bytes
            )
            self._require_usual(version, servable, runs, told, classes)
        except Exception as error:
            self._reject(version, load, servable, handle, str(error) or repr(error))
            return
        batcher = Batcher(
            self._timed(version.model, servable.run),
            self._config.batching,
            self._observer(version.model),
        )
        with self._lock:
            mine = not load.disowned
            if mine:
                version.info, version.classes, version.hold = info, told, handle
                version.digest = digest
                version.servable, version.batcher, version.load = servable, batcher, None
                version.load_seconds = loaded - started
                version.warm_up_seconds = time.monotonic() - loaded
                version.state = State.AVAILABLE
        if mine:
            logger.info(
                "%s: version %d is loaded and warm (%d runs, %.1f s)",
                *(version.model, version.number, runs, time.monotonic() - started),
            )
        else:
            batcher.close()
            servable.close()
            os.close(handle)
        load.done.set()

    def _reject(
        self,
        version: Version,
        load: Load,
        servable: Servable | None,
        handle: int | None,
        reason: str,
    ) -> None:
        if servable:
            servable.close()
        if handle is not None:
            os.close(handle)
        self._end(version, load, reason)

    def _end(self, version: Version, load: Load, reason: str) -> None:
        """Ends a version that isn't loaded, with the reason; the first one stays."""
        with self._lock:
            if load.disowned:
                return
            load.disowned, version.load = True, None
            version.state, version.error = State.END, reason
            self.failed[version.model] += 1
        load.done.set()
        logger.error("%s: version %d is rejected: %s", version.model, version.number, reason)

    def disown(self, version: Version, reason: str) -> None:
        """Gives a load up; its thread frees what it loads, whenever that is."""
        if version.load:
            self._end(version, version.load, reason)

    def _require_usual(
        self,
        version: Version,
        servable: Servable,
        warm_up_runs: int,
        classes: tuple[str, ...],
        served: tuple[str, ...],
    ) -> None:
        """Refuses what would surprise clients, or warns where the settings allow it.

        Raises:
            CxrflowError: no serving_default, other classes than what is served, no warm-up.
        """
        odd = []
        if DEFAULT_SIGNATURE not in servable.signatures:
            odd.append(f"it has no signature {DEFAULT_SIGNATURE}")
        if served and classes != served:
            odd.append(
                f"its classes are {', '.join(classes) or 'unknown'}, those of the version that is "
                f"served are {', '.join(served)}"
            )
        if not warm_up_runs:
            odd.append("it has no warm-up requests, so that its first answers would be slow")
        if odd and self._config.odd_versions == "refuse":
            raise CxrflowError(f"{'; '.join(odd)} (odd_versions: warn would take it)")
        for text in odd:
            logger.warning("%s: version %d: %s", version.model, version.number, text)

    def _observer(self, model: str) -> Callable[[int, float], None] | None:
        observe = self._observe
        return observe and (lambda rows, waited: observe(model, rows, waited))

    def _timed(self, model: str, run: Run) -> Run:
        observe = self._observe_run
        if observe is None:
            return run

        def timed(signature: str, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
            started = time.perf_counter()
            try:
                return run(signature, inputs, outputs)
            finally:
                observe(model, time.perf_counter() - started)

        return timed


def _read_info(folder: Path) -> tuple[str, tuple[str, ...]]:
    """A version's model.json and the classes that it names; empty where it can't be understood.

    Raises:
        CxrflowError: it is of a newer format.
    """
    text = ""
    try:
        text = (folder / MODEL_JSON).read_text(encoding="utf-8")
        return text, parse_model_json(text).classes
    except NewerFormat as error:
        raise CxrflowError(f"{MODEL_JSON} {error}") from None
    except (OSError, UnicodeDecodeError, BadModelJson):
        return text, ()


def _batch_sizes(largest: int) -> list[int]:
    """2, 4, ... and the largest."""
    sizes = [2**i for i in range(1, largest.bit_length()) if 2**i < largest]
    return [*sizes, largest]


def let_go(version: Version) -> None:
    """Ends the hold that keeps a version from being pruned; does nothing where there is none."""
    if version.hold is not None:
        os.close(version.hold)
        version.hold = None
