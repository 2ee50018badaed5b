"""Which versions of which models are in memory, and how they come and go."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
from tensorflow_serving.apis import model_pb2

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.load_record import (
    RECORD,
    LoadRecord,
    Rejected,
    fingerprint,
    remove_record,
    write_record,
)
from cxrflow.schema.store.versions import (
    STABLE,
    Labels,
    list_models,
    list_versions,
    read_labels,
)
from cxrflow.serving.loading import (
    Load,
    Loader,
    Observe,
    ObserveRun,
    State,
    Version,
    let_go,
)
from cxrflow.serving.metrics import VersionRow
from cxrflow.serving.model import Model, Source
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.status import StatusError, invalid, not_found

logger = logging.getLogger(__name__)

_KEPT = 20  # versions that are gone and still have a status
_USUAL_SECONDS = 30.0  # a load that takes longer keeps no other waiting
_LOOK_SECONDS = 0.2


class Manager:
    """Follows the serving root: loads, warms up, switches, drains, unloads.

    Only folders inside the root are read, without following links, and only versions whose
    manifest holds. Models are looked for in the root until `configure` names them.
    """

    def __init__(
        self,
        root: Path,
        config: ServerConfig,
        observe: Observe | None = None,
        observe_run: ObserveRun | None = None,
    ):
        """`observe` is told each batch: model, rows, seconds its first request waited; and
        `observe_run` each run of a model: its name, seconds."""
        self.root = root.resolve()
        self._config = config
        self._models: dict[str, Model] = {}
        self._configured: dict[str, Source] | None = None
        self._lock = threading.Condition()  # of what requests read
        self._polling = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="manager", daemon=True)
        self._loader = Loader(config, self._lock, observe, observe_run)

    def start(self, stop: threading.Event | None = None) -> None:
        """Loads what is there, then follows the root in the background.

        What takes unusually long isn't waited for where another version of its model answers, and
        nothing is once `stop` is set.
        """
        began = time.monotonic()
        while not (stop and stop.is_set()) and (loads := self._step()):
            if time.monotonic() - began > _USUAL_SECONDS and self.served().keys() >= {
                load.model for load in loads
            }:
                break
            loads[0].done.wait(_LOOK_SECONDS)
        self._thread.start()

    def stop(self) -> None:
        """Drains and unloads everything; what is still loading is left to end by itself."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._polling:
            for model in self._models.values():
                for version in list(model.versions.values()):
                    self._loader.disown(version, "the server stopped")
                    self._unload(version)
                remove_record(model.source.folder)

    def poll(self) -> None:
        """Brings memory in line with the root once, and waits until all is loaded or rejected."""
        while not self._stopped.is_set() and (loads := self._step()):
            for load in loads:
                load.done.wait(max(0.0, load.deadline - time.monotonic()))

    def _step(self) -> list[Load]:
        """Starts what is to be loaded, switches to what is, unloads the rest; waits for no load.

        Returns:
            The loads under way.
        """
        with self._polling:
            sources = self._configured if self._configured is not None else self._find()
            loads = []
            for name, source in sources.items():
                with self._lock:
                    model = self._models.setdefault(name, Model(name, source))
                    model.source = source
                loads += self._update(model)
            for name in self._models.keys() - sources.keys():
                if self._configured is not None:
                    self._remove(self._models[name])
                else:  # its folder vanished, which is no reason to stop serving
                    loads += self._update(self._models[name])
            return loads

    def configure(self, sources: dict[str, Source]) -> None:
        """Serves these models, and only these, from now on; waits until they are loaded.

        Raises StatusError if a model can't be served or a label names a version that isn't loaded.
        """
        with self._polling:
            before, self._configured = self._configured, sources
        self.poll()
        problem = self._problem(sources)
        if problem:
            with self._polling:
                self._configured = before
            self.poll()
            raise problem

    @contextmanager
    def lease(self, spec: model_pb2.ModelSpec) -> Iterator[Version]:
        """The version that a request asks for; it stays loaded until the block ends.

        Raises StatusError with TF Serving's codes and texts.
        """
        with self._lock:
            version = self._resolve(spec)
            version.leases += 1
        try:
            yield version
        finally:
            with self._lock:
                version.leases -= 1
                self._lock.notify_all()

    def statuses(self, name: str) -> dict[int, Version]:
        """The model's versions, those that ended too. Empty for a model that isn't there."""
        with self._lock:
            model = self._models.get(name)
            return dict(model.versions) if model else {}

    def labelled(self, name: str, label: str) -> int:
        """The version with a label; raises StatusError INVALID_ARGUMENT, as TF Serving does."""
        with self._lock:
            model = self._models.get(name)
            number = model.labels.get(label) if model else None
        if number is None:
            raise invalid(f"Unrecognized servable version label: {label}")
        return number

    def served(self) -> dict[str, int]:
        """The default version of each model that can be asked."""
        with self._lock:
            return {m.name: m.default for m in self._models.values() if m.default is not None}

    def failed_loads(self) -> dict[str, int]:
        """How many versions were rejected, by model; 0 where none was."""
        with self._lock:
            return dict.fromkeys(self._models, 0) | self._loader.failed

    def overview(self) -> list[VersionRow]:
        """Every version, for the metrics."""
        with self._lock:
            return [
                VersionRow(
                    v.model,
                    v.number,
                    State.Name(v.state),
                    v.batcher.waiting if v.batcher else 0,
                    v.load_seconds,
                    v.warm_up_seconds,
                )
                for model in self._models.values()
                for v in model.versions.values()
            ]

    def _resolve(self, spec: model_pb2.ModelSpec) -> Version:
        choice = spec.WhichOneof("version_choice")
        model = self._models.get(spec.name)
        if choice == "version_label":
            number = model.labels.get(spec.version_label) if model else None
            if number is None:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        else:
            number = spec.version.value if choice else model.default if model else None
        version = model.versions.get(number) if model and number is not None else None
        if version is None or version.state != State.AVAILABLE:
            asked = f"Specific({spec.name}, {number})" if choice else f"Latest({spec.name})"
            raise not_found(f"Servable not found for request: {asked}")
        return version

    def _follow(self) -> None:
        complaint = ""
        while not self._stopped.wait(self._config.poll_seconds):
            try:
                self._step()
                complaint = ""
            except Exception as error:
                if repr(error) != complaint:  # once, not at every poll
                    complaint = repr(error)
                    logger.exception("the serving root can't be read")

    def _find(self) -> dict[str, Source]:
        """Folders of the root that hold versions."""
        return {name: Source(self.root / name) for name in list_models(self.root)}

    def _update(self, model: Model) -> list[Load]:
        """Brings one model in line with its folder; returns the loads under way."""
        wanted, labels, default = self._wanted(model)
        for version in list(model.versions.values()):
            if version.load and version.number not in wanted:
                self._loader.disown(version, "another version is wanted")
                version.fingerprint = ""  # it may be wanted again
            elif version.load and time.monotonic() > version.load.deadline:
                self._loader.disown(version, f"not loaded within {self._config.load_seconds:g} s")
                return self._update(model)  # what was before it is wanted now
        loading = [v.load for v in model.versions.values() if v.load]
        missing = sorted(n for n in wanted if not _is_loaded(model.versions.get(n)))
        missing = [n for n in missing if not (n in model.versions and model.versions[n].load)]
        usual = [load for load in loading if time.monotonic() - load.began < _USUAL_SECONDS]
        if default in missing:  # no other may keep it waiting
            loading.append(self._load(model, default))
        elif missing and not usual:  # one at a time: memory is for one more
            loading.append(self._load(model, missing[-1]))
        with self._lock:
            if default is not None and _is_loaded(model.versions.get(default)):
                if default != model.default:
                    logger.info("%s: version %d answers now", model.name, default)
                model.default = default
            model.labels = {k: n for k, n in labels.items() if _is_loaded(model.versions.get(n))}
            if model.default is not None:  # until the next one is loaded
                model.labels.setdefault(STABLE, model.default)
        if default is not None:  # else nothing is better than what is loaded: it goes on serving
            for number, version in list(model.versions.items()):
                if _is_loaded(version) and number not in {*wanted, model.default}:
                    self._unload(version)
        self._forget(model)
        self._record(model)
        return loading

    def _wanted(self, model: Model) -> tuple[set[int], dict[str, int], int | None]:
        """Versions to have in memory, labels, and the default among them.

        A rejected version counts as not there. If the stable one isn't there, what is served now
        goes on; after a restart it is what was stable before, or the newest.
        """
        source, listed = model.source, list_versions(model.source.folder)
        if not listed and model.default is not None:
            self._complain(model, "its versions are gone; what is loaded goes on being served")
            loaded = {n for n, v in model.versions.items() if _is_loaded(v)}
            return loaded, dict(model.labels), model.default
        there = [number for number in listed if not self._is_rejected(model, number)]
        if source.versions is not None:
            self._complain(model, "")
            wanted = set(source.versions(there))
            return wanted, dict(source.labels or {}), max(wanted, default=None)
        complaint = ""
        try:
            read = Labels(dict(source.labels)) if source.labels else read_labels(source.folder)
        except CxrflowError as error:
            complaint = str(error)
            read = Labels(dict(model.labels))
        stable = read.stable(there)
        if stable not in there:
            which = "a version that can be served" if stable is None else f"version {stable}"
            complaint = complaint or f"{which} is not there or was rejected"
            stable = model.default
            if stable is None:
                before = read.before(there)
                stable = max(there, default=None) if before is None else before
            if stable is not None:
                complaint += f"; version {stable} is served in its place"
        self._complain(model, complaint)
        labels = read.all(there) | ({} if stable is None else {STABLE: stable})
        return set(labels.values()), labels, stable

    def _complain(self, model: Model, complaint: str) -> None:
        """Says what is wrong with a model's folder, once; empty if nothing is."""
        if complaint and complaint != model.complaint:
            logger.error("%s: %s", model.name, complaint)
        model.complaint = complaint

    def _is_rejected(self, model: Model, number: int) -> bool:
        version = model.versions.get(number)
        if version is None or version.state != State.END or not version.error:
            return False
        return version.fingerprint == fingerprint(model.source.folder / str(number))

    def _load(self, model: Model, number: int) -> Load:
        """Starts to load a version."""
        folder = model.source.folder / str(number)
        version = Version(model.name, number, fingerprint=fingerprint(folder))
        with self._lock:
            model.versions[number] = version
            served = model.versions.get(model.default) if model.default is not None else None
        return self._loader.start(version, folder, served.classes if served else ())

    def _record(self, model: Model) -> None:
        """Writes what became of each version beside them, for `cxrflow models`."""
        with self._lock:
            rejected = {
                n: Rejected(" ".join(v.error.split()), v.fingerprint)
                for n, v in model.versions.items()
                if v.error and v.fingerprint
            }
            record = LoadRecord(dict(model.labels), rejected)
        if record != model.record or not (model.source.folder / RECORD).exists():
            model.record = record if write_record(model.source.folder, record) else None

    def _unload(self, version: Version) -> None:
        """Lets requests under way finish, then frees the memory."""
        if not _is_loaded(version):
            return
        with self._lock:
            version.state = State.UNLOADING
            drained = self._lock.wait_for(
                lambda: not version.leases, timeout=self._config.drain_seconds
            )
            servable, batcher = version.servable, version.batcher
            version.servable = version.batcher = None
        assert servable and batcher
        batcher.close()
        servable.close()
        let_go(version)
        with self._lock:
            version.state = State.END
        how = "drained" if drained else "stopped with requests under way"
        logger.info("%s: version %d is unloaded, %s", version.model, version.number, how)

    def _remove(self, model: Model) -> None:
        with self._lock:
            model.default, model.labels = None, {}
        for version in list(model.versions.values()):
            self._unload(version)
        remove_record(model.source.folder)
        with self._lock:
            del self._models[model.name]

    def _forget(self, model: Model) -> None:
        """Drops the status of versions that ended long ago."""
        with self._lock:
            ended = sorted(n for n, v in model.versions.items() if v.state == State.END)
            for number in ended[:-_KEPT]:
                del model.versions[number]

    def _problem(self, sources: Mapping[str, Source]) -> StatusError | None:
        served = self.served()
        for name, source in sources.items():
            if name not in served:
                text = f"Some models did not become available: {{{name}}}"
                return StatusError(grpc.StatusCode.UNKNOWN, text)
            for number in (source.labels or {}).values():
                if not _is_loaded(self.statuses(name).get(number)):
                    return StatusError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {name}, which is "
                        "not currently available for inference",
                    )
        return None


def _is_loaded(version: Version | None) -> bool:
    return version is not None and version.state == State.AVAILABLE
