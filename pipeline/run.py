"""One run of the pipeline from the command line: data, nodes, and the record that it leaves."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cxrflow.components.model.parent import find_parent
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.pipeline import beam_engine, data, extras, metadata_server, parallel
from cxrflow.pipeline import config as settings
from cxrflow.pipeline.disk import require_writable
from cxrflow.pipeline.holding import only_run_in
from cxrflow.pipeline.metadata_tls import TlsConfig
from cxrflow.pipeline.one_line import as_one_line
from cxrflow.pipeline.output import say_as_is
from cxrflow.pipeline.parallel import Work
from cxrflow.pipeline.record import Origin, Run, path_below
from cxrflow.pipeline.temporary import temporary_files_in
from cxrflow.pipeline.terminal import NodeDisplay, Shown, progress_bar, redirected_to
from cxrflow.schema.paths import require_root

ENGINES = ("local", "beam")
Create = Callable[[settings.PipelineConfig, Path, Path], Any]


def run_pipeline(
    config: settings.PipelineConfig,
    data_dir: Path | None,
    root: Path,
    engine: str,
    shown: Shown = "steps",
    jobs: int = 1,
) -> Run:
    """Runs the whole pipeline and leaves its record in `<root>/run.json`; see `execute`."""
    run = execute(create_pipeline, config, data_dir, root, engine, shown, jobs)
    run.write(root)
    return run


def create_pipeline(config: settings.PipelineConfig, folder: Path, root: Path) -> Any:
    """Looks up what the wiring wants to know, and wires."""
    from cxrflow.pipeline import dag, facts

    return dag.create_pipeline(config, folder, root, facts.gather(config, folder, root))


def execute(
    create: Create,
    config: settings.PipelineConfig,
    data_dir: Path | None,
    root: Path,
    engine: str,
    shown: Shown = "steps",
    jobs: int = 1,
) -> Run:
    """Runs every node that isn't cached; draws progress on the terminal, logs to a file.

    Args:
        create: makes the TFX pipeline from settings, the data folder and the root; it is called,
            as the pipeline is run, inside the root and with paths relative to it.
        config: a run's settings.
        data_dir: the X-rays; None: the profile's phantoms.
        root: the run's folder.
        engine: one of ENGINES.
        shown: on the terminal.
        jobs: how many nodes may run at the same time; above 1 each has its process and its log.

    Raises:
        CxrflowError: TFX isn't installed, bad input, a failed check, or a node that broke (the log
            says more), or a disk that is full.
    """
    config, root = checked(config, data_dir, root)
    log = root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    started = time.monotonic()
    with (
        only_run_in(root),
        temporary_files_in(root),
        redirected_to(log, shown) as console,
    ):
        say_as_is(console, f"log: {log}")
        try:
            with progress_bar("synthetic X-rays", console):
                folder = data.find(config, data_dir, root)
            with inside(root):
                with progress_bar("loading TensorFlow and TFX", console, at_once=True):
                    import cxrflow.pipeline.preloaded  # noqa: F401
                    from cxrflow.pipeline import beam_workers, engines

                    if jobs == 1:
                        beam_workers.prepare(config.beam.workers)
                    below = path_below(str(folder), root)
                    pipeline = create(config, data.as_named(folder, root, config), Path())
                    origin = Origin(settings.to_dict(config), below, data.is_synthetic(folder))
                    ir = engines.begin(pipeline, root, origin)
                nodes = [component.id for component in pipeline.components]
                display = NodeDisplay(console, nodes)
                with display.attached():
                    if jobs == 1:
                        engines.run(ir, engine)
                    else:
                        upstream = engines.upstream(ir)
                        work = Work(ir.SerializeToString(), upstream, root, log.with_suffix(""))
                        parallel.run(work, jobs, display)
                found = engines.outputs(ir)
        except Exception as error:
            logging.exception("the run failed")
            raise as_one_line(error, root, log) from error
        return Run.of(origin, found, root, time.monotonic() - started, log)


def checked(
    config: settings.PipelineConfig, data_dir: Path | None, root: Path
) -> tuple[settings.PipelineConfig, Path]:
    """Looks at what is cheap to find, before TensorFlow takes its time to load.

    Args:
        config: a run's settings.
        data_dir: the X-rays; None: the profile's phantoms.
        root: the run's folder, which is made if it is missing.

    Returns:
        The settings and the root with absolute paths.

    Raises:
        CxrflowError: TFX isn't installed, bad input, a server or engine that doesn't answer, or a
            root that takes no files.
    """
    extras.require("tfx", "pipeline")
    data.require(config, data_dir)
    metadata_server.require(config.metadata)
    beam_engine.require(config.beam)
    root = require_root(root)
    require_writable(root)
    return with_absolute_paths(config), root


def with_absolute_paths(config: settings.PipelineConfig) -> settings.PipelineConfig:
    """Returns settings that mean the same, whatever folder is worked in."""

    def absolute(given: str) -> str:
        return given and os.path.abspath(os.path.expanduser(given))

    def of_recipe(recipe: TrainConfig) -> TrainConfig:
        parent = recipe.start_from and str(find_parent(recipe.start_from))
        return replace(
            recipe, weights_dir=absolute(recipe.weights_dir), start_from=absolute(parent)
        )

    def of_tls(tls: TlsConfig) -> TlsConfig:
        return replace(
            tls,
            ca=absolute(tls.ca),
            capath=absolute(tls.capath),
            cert=absolute(tls.cert),
            key=absolute(tls.key),
        )

    return replace(
        config,
        train=of_recipe(config.train),
        models={name: of_recipe(recipe) for name, recipe in config.models.items()},
        localise=replace(config.localise, boxes=absolute(config.localise.boxes)),
        publish=replace(config.publish, signing_key=absolute(config.publish.signing_key)),
        metadata=replace(config.metadata, tls=of_tls(config.metadata.tls)),
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
