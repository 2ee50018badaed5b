"""One run of the pipeline from the command line: data, nodes, and the summary that it leaves."""

import fcntl
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline import config as settings
from pipeline import data
from pipeline.terminal import NodeDisplay, progress_bar, redirected_to
from schema.errors import CxrflowError
from schema.paths import require_root

ENGINES = ("local", "beam")

# Beam reports a DoFn's exception as the text of a traceback inside a RuntimeError.
_OUR_ERROR = re.compile(r"CxrflowError: (.+?)(?: \[while running .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What a finished run left, as kept in `<root>/run.json`."""

    config: dict[str, Any]
    data_dir: str
    synthetic: bool
    seconds: float
    executed: list[str]  # ids of the nodes that really ran
    cached: list[str]
    artifacts: dict[str, dict[str, str]]  # node id -> output key -> folder
    pushed: str  # folder of the pushed version; empty if the gate said no
    log: str
    edge: str = ""  # folder of the pushed edge bundle; empty if there is none

    @classmethod
    def read(cls, root: Path) -> "Run":
        """The last finished run below `root`.

        Raises:
            CxrflowError: there is none.
        """
        path = root / "run.json"
        if not path.is_file():
            raise CxrflowError(f"no finished run in {root}: `cxrflow run --root {root}` makes one")
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    @property
    def trainers(self) -> list[str]:
        """Ids of the nodes that train, one a model."""
        return sorted(node for node in self.artifacts if node.startswith("Trainer"))

    @property
    def candidate(self) -> str:
        """Folder of the model that the last gate judged."""
        node = "Ensemble" if "Ensemble" in self.artifacts else self.trainers[0]
        return self.artifacts[node]["model"]

    @property
    def model(self) -> Path:
        """Folder of the model that was pushed, or would have been."""
        return Path(self.pushed or self.candidate)

    def write(self, root: Path) -> None:
        path = root / "run.json"
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(self.__dict__, indent=1), encoding="utf-8")
        aside.replace(path)


def run_pipeline(
    config: settings.PipelineConfig, data_dir: Path | None, root: Path, engine: str
) -> Run:
    """Runs the whole pipeline and leaves its record in `<root>/run.json`; see `execute`."""

    def create(folder: Path, root: Path) -> Any:
        from pipeline import dag

        return dag.create_pipeline(config, data_dir=folder, root=root)

    run = execute(create, config, data_dir, root, engine)
    run.write(root)
    return run


def execute(
    create: Callable[[Path, Path], Any],
    config: settings.PipelineConfig,
    data_dir: Path | None,
    root: Path,
    engine: str,
) -> Run:
    """Runs every node that isn't cached; draws progress on the terminal, logs to a file.

    Args:
        create: makes the TFX pipeline from the data folder and the root, both absolute.

    Raises:
        CxrflowError: bad input, a failed check, or a node that broke (the log says more).
    """
    data.require(config, data_dir)
    root = require_root(root)
    root.mkdir(parents=True, exist_ok=True)
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    started = time.monotonic()
    with only_run_in(root), redirected_to(log) as console:
        console.print(f"log: {log}", soft_wrap=True)
        with progress_bar("synthetic X-rays", console):
            folder = data.find(config, data_dir, root)
        with console.status("loading TensorFlow and TFX"):
            from pipeline import engines

            pipeline = create(folder, root)
        display = NodeDisplay(console, nodes=len(pipeline.components))
        try:
            with display.attached():
                engines.run(pipeline, engine)
        except Exception as error:
            logging.exception("the run failed")
            raise _as_one_line(error, log) from error
        found = engines.outputs(pipeline)
        return Run(
            config=settings.to_dict(config),
            data_dir=str(folder),
            synthetic=data.is_synthetic(folder),
            seconds=round(time.monotonic() - started, 1),
            executed=display.executed,
            cached=display.cached,
            artifacts=found.artifacts,
            pushed=found.pushed,
            log=str(log),
            edge=found.edge,
        )


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds a lock, since two runs in one root would share checkpoints and metadata.

    Raises:
        CxrflowError: another process holds it.
    """
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CxrflowError(
                f"another run works in {root}: wait for it or give --root another folder"
            ) from None
        yield


def _as_one_line(error: BaseException, log: Path) -> CxrflowError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CxrflowError):
            return CxrflowError(str(cause).partition(" [while running ")[0])
        if found := _OUR_ERROR.findall(str(cause)):
            return CxrflowError(found[-1])
        cause = cause.__cause__ or cause.__context__
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return CxrflowError(f"a step broke: {type(error).__name__}: {first}; the log has it all: {log}")
