"""One run of the pipeline from the command line: data, nodes, and the record that it leaves."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.pipeline import config as settings
from cxrflow.pipeline import data, extras
from cxrflow.pipeline.disk import is_full, no_space, require_writable
from cxrflow.pipeline.output import say_as_is
from cxrflow.pipeline.record import Run, path_below
from cxrflow.pipeline.terminal import NodeDisplay, Shown, progress_bar, redirected_to
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import locked
from cxrflow.schema.paths import require_root

ENGINES = ("local", "beam")

# Beam reports a DoFn's exception as the text of a traceback inside a RuntimeError.
_OUR_ERROR = re.compile(r"CxrflowError: (.+?)(?: \[while running .*)?$", re.MULTILINE)
# Nodes name their files relative to the root.
_IN_ROOT = re.compile(r"(?<![^\s'\"(])(?=(?:artifacts|edge|serving|work|phantoms-[\w.-]+)/)")


def run_pipeline(
    config: settings.PipelineConfig,
    data_dir: Path | None,
    root: Path,
    engine: str,
    shown: Shown = "steps",
) -> Run:
    """Runs the whole pipeline and leaves its record in `<root>/run.json`; see `execute`."""

    def create(config: settings.PipelineConfig, folder: Path, root: Path) -> Any:
        from cxrflow.pipeline import dag, facts

        return dag.create_pipeline(config, folder, root, facts.gather(config, folder, root))

    run = execute(create, config, data_dir, root, engine, shown)
    run.write(root)
    return run


def execute(
    create: Callable[[settings.PipelineConfig, Path, Path], Any],
    config: settings.PipelineConfig,
    data_dir: Path | None,
    root: Path,
    engine: str,
    shown: Shown = "steps",
) -> Run:
    """Runs every node that isn't cached; draws progress on the terminal, logs to a file.

    Args:
        create: makes the TFX pipeline from settings, the data folder and the root; it is called,
            as the pipeline is run, inside the root and with paths relative to it.

    Raises:
        CxrflowError: TFX isn't installed, bad input, a failed check, or a node that broke (the log
            says more), or a disk that is full.
    """
    # What is cheap to find comes first: TensorFlow takes its time to load.
    extras.require("tfx", "pipeline")
    data.require(config, data_dir)
    config = with_absolute_paths(config)
    root = require_root(root)
    require_writable(root)
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    started = time.monotonic()
    with only_run_in(root), redirected_to(log, shown) as console:
        say_as_is(console, f"log: {log}")
        try:
            with progress_bar("synthetic X-rays", console):
                folder = data.find(config, data_dir, root)
            with inside(root):
                with progress_bar("loading TensorFlow and TFX", console, at_once=True):
                    from cxrflow.pipeline import engines, store

                    store.make_relative(Path("metadata.sqlite"))
                    pipeline = create(config, Path(path_below(str(folder), root)), Path())
                nodes = [component.id for component in pipeline.components]
                with NodeDisplay(console, nodes).attached():
                    engines.run(pipeline, engine)
                found = engines.outputs(pipeline)
        except Exception as error:
            logging.exception("the run failed")
            raise _as_one_line(error, root, log) from error
        return Run(
            config=settings.to_dict(config),
            data_dir=str(folder),
            synthetic=data.is_synthetic(folder),
            seconds=round(time.monotonic() - started, 1),
            executed=found.executed,
            cached=found.cached,
            artifacts={
                node: {key: str(root / uri) for key, uri in outputs.items()}
                for node, outputs in found.artifacts.items()
            },
            pushed=found.pushed and str(root / found.pushed),
            log=str(log),
            edge=found.edge and str(root / found.edge),
        )


def with_absolute_paths(config: settings.PipelineConfig) -> settings.PipelineConfig:
    """The same settings, whatever folder is worked in."""

    def absolute(given: str) -> str:
        return given and os.path.abspath(os.path.expanduser(given))

    def of_recipe(recipe: TrainConfig) -> TrainConfig:
        return replace(recipe, weights_dir=absolute(recipe.weights_dir))

    return replace(
        config,
        train=of_recipe(config.train),
        models={name: of_recipe(recipe) for name, recipe in config.models.items()},
        localise=replace(config.localise, boxes=absolute(config.localise.boxes)),
        publish=replace(config.publish, signing_key=absolute(config.publish.signing_key)),
    )


@contextmanager
def inside(root: Path) -> Iterator[None]:
    """Works inside `root`, so that ML Metadata keeps paths that stay right when it is moved."""
    # O_PATH, which macOS lacks, needs no right to read the folder.
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    os.chdir(root)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds a lock, since two runs in one root would share checkpoints and metadata.

    Raises:
        CxrflowError: another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(root / ".lock", wait=False))
        except BlockingIOError:
            raise CxrflowError(
                f"another run works in {root}: wait for it or give --root another folder"
            ) from None
        yield


def _as_one_line(error: BaseException, root: Path, log: Path) -> CxrflowError:
    if not log.is_file():
        return CxrflowError(f"{root} has vanished while the run wrote to it")
    if is_full(error, log):
        return no_space(root)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CxrflowError):
            return CxrflowError(_absolute(str(cause).partition(" [while running ")[0], root))
        if found := _OUR_ERROR.findall(str(cause)):
            return CxrflowError(_absolute(found[-1], root))
        cause = cause.__cause__ or cause.__context__
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return CxrflowError(f"a step broke: {type(error).__name__}: {first}; the log has it all: {log}")


def _absolute(message: str, root: Path) -> str:
    return _IN_ROOT.sub(lambda _: f"{root}/", message)
