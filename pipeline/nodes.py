"""A node as a command: the pipeline is compiled into a file, from which machines run nodes."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cxrflow.components import storage
from cxrflow.pipeline import config as settings
from cxrflow.pipeline import data, extras, made_with, metadata_server
from cxrflow.pipeline.disk import require_writable
from cxrflow.pipeline.graph import Graph, read_graph
from cxrflow.pipeline.holding import only_node_in, only_run_in
from cxrflow.pipeline.one_line import as_one_line
from cxrflow.pipeline.output import say_as_is
from cxrflow.pipeline.record import Origin, path_below
from cxrflow.pipeline.run import create_pipeline, inside, with_absolute_paths
from cxrflow.pipeline.temporary import temporary_files_in
from cxrflow.pipeline.terminal import NodeDisplay, Shown, redirected_to
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.lean import uncollected
from cxrflow.schema.paths import require_root

# It names a folder of logs and a context in ML Metadata; Airflow's have colons and plus signs.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,120}")


def compile_pipeline(
    config: settings.PipelineConfig, data_dir: Path | None, root: Path, file: Path
) -> Graph:
    """Writes TFX's intermediate representation of the whole pipeline.

    The data's fingerprint and what is published already stand in it: whatever changes later is seen
    by the next compilation.

    Args:
        config: a run's settings.
        data_dir: the X-rays; None: the profile's phantoms, which are made below the root.
        root: the run's folder, as all machines see it.
        file: where to write; parent folders are made.

    Raises:
        CxrflowError: as `run.execute`.
    """
    extras.require("tfx", "pipeline")
    data.require(config, data_dir)
    metadata_server.require(config.metadata)
    config = with_absolute_paths(config)
    root, file = require_root(root), file.absolute()
    require_writable(root)
    log = root / "logs" / "compile.log"
    with only_run_in(root), temporary_files_in(root), _logged(root, log):
        folder = data.find(config, data_dir, root)
        below = path_below(str(folder), root)
        with inside(root):
            import cxrflow.pipeline.preloaded  # noqa: F401
            from cxrflow.pipeline import engines, ir

            pipeline = create_pipeline(config, data.as_named(folder, root, config), Path())
            synthetic = data.is_synthetic(folder)
            origin = Origin(settings.to_dict(config), below, synthetic, made_with.here())
            ir.write(engines.prepared(pipeline, root, origin), file)
    return read_graph(file)


def run_node(
    file: Path, run_id: str, node: str, root: Path | None = None, shown: Shown = "steps"
) -> None:
    """Runs one node of a compiled pipeline; the one that finishes last writes the run's record.

    Args:
        file: of `compile_pipeline`.
        run_id: the same for all nodes of a run.
        node: its id.
        root: the run's folder as this machine sees it, if that isn't where it was compiled.
        shown: of it on the terminal.

    Raises:
        CxrflowError: no such file, node or folder, it was compiled with other code, a node before
            it hasn't finished, another process runs it or works for another run there, or it broke
            (the log says more).
    """
    extras.require("tfx", "pipeline")
    graph = read_graph(file)
    graph.require(node)
    require_run_id(run_id)
    root, file = require_root(root or Path(graph.root)), file.absolute()
    if not root.is_dir():
        raise CxrflowError(
            f"no folder {root} on this machine: mount the run's folder there, or give --root where "
            "it is mounted"
        )
    made_with.require_same(file, graph.made_with, made_with.here())
    require_writable(root)
    log = root / "logs" / run_id / f"{node}.log"
    with (
        only_node_in(root, node, run_id),
        temporary_files_in(root, node),
        _logged(root, log, shown) as console,
    ):
        say_as_is(console, f"log: {log}")
        with inside(root), NodeDisplay(console, [node]).attached():
            with uncollected():
                from cxrflow.pipeline import engines, ir

            compiled = ir.read(file)
            metadata_server.require(ir.metadata_config(compiled))
            run = ir.of_run(compiled, run_id)
            storage.require_usable(ir.artifacts(compiled))
            engines.run_node(run, node)
        with inside(root):
            engines.record_if_finished(run, root, log.parent)


def require_run_id(run_id: str) -> None:
    """Raises CxrflowError for what is no run's name."""
    if not _RUN_ID.fullmatch(run_id):
        raise CxrflowError(
            f"--run-id {run_id!r}: take letters, digits and any of _ . : + - (a letter or digit "
            "first)"
        )


@contextmanager
def _logged(root: Path, log: Path, shown: Shown = "nothing") -> Iterator[Console]:
    since = log.stat().st_size if log.is_file() else 0  # of a node's earlier attempts
    with redirected_to(log, shown) as console:
        try:
            yield console
        except Exception as error:
            logging.exception("it failed")
            raise as_one_line(error, root, log, since) from error
