"""A pipeline as it is run in one process: compiled, run by one of two orchestrators, looked up.

Imports TFX.
"""

import logging as std_logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from absl import logging
from apache_beam.options.pipeline_options import StandardOptions
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2

from cxrflow.components import storage
from cxrflow.pipeline import beam_workers, history, leftovers, mlmd
from cxrflow.pipeline.ir import artifacts, compiled, node_ids, of_run, origin
from cxrflow.pipeline.launch import launch, own_operators, run_id_of
from cxrflow.pipeline.metadata_server import Hidden
from cxrflow.pipeline.record import Origin, Run


def prepared(pipeline: Pipeline, root: Path, made_of: Origin) -> pipeline_pb2.Pipeline:
    """Compiles a pipeline, and clears away what an earlier run left that was killed.

    Args:
        pipeline: with paths relative to the root, which is the folder that is worked in.
        root: absolute; no other process works there.
        made_of: what goes into the run's record.

    Raises:
        CxrflowError: the bucket that the artifacts go to can't be used.
    """
    ir = compiled(pipeline, root, made_of)
    storage.require_usable(artifacts(ir))
    # The first connection makes the tables, before several nodes connect at once.
    with mlmd.connected(of_run(ir, "preparation")) as metadata:
        leftovers.clear(metadata, ir.pipeline_info.id, artifacts(ir))
    return ir


def begin(pipeline: Pipeline, root: Path, made_of: Origin) -> pipeline_pb2.Pipeline:
    """A new run of a pipeline; see `prepared`."""
    return of_run(prepared(pipeline, root, made_of), datetime.now().isoformat())


def run(ir: pipeline_pb2.Pipeline, engine: str) -> None:
    """Runs a pipeline of `ir.of_run` with TFX's runner for `engine` ("local" or "beam")."""
    with _runner(engine) as runner:
        runner.run_with_ir(ir)


def run_pipeline(pipeline: Pipeline, root: Path, made_of: Origin, engine: str) -> None:
    """Runs a pipeline by the runner's `run`, which TFX's command line puts its own in the place of.

    Where ML Metadata is on a server, the pipeline's connection has the password; see `prepared`.
    """
    prepared(pipeline, root, made_of)
    with _runner(engine) as runner:
        runner.run(pipeline)


@contextmanager
def _runner(engine: str) -> Iterator[Any]:
    be_quiet()
    with _hidden_passwords(), own_operators():
        if engine == "local":
            yield LocalDagRunner()
            return
        with _fn_api_runner():
            yield BeamDagRunner()


def be_quiet() -> None:
    """Logs what TFX does, and of Beam what is wrong alone."""
    logging.set_verbosity(logging.INFO)
    std_logging.getLogger("apache_beam").setLevel(std_logging.WARNING)


@contextmanager
def _hidden_passwords() -> Iterator[None]:
    """TFX's runners log the connection as they start."""
    hidden, logger = Hidden(), std_logging.getLogger("absl")
    logger.addFilter(hidden)
    try:
        yield
    finally:
        logger.removeFilter(hidden)


@contextmanager
def _fn_api_runner() -> Iterator[None]:
    """Makes Beam's own runner in this process the default one.

    BeamDagRunner takes no options, and Beam's default first tries to download a Go binary.
    """
    before = StandardOptions.DEFAULT_RUNNER
    StandardOptions.DEFAULT_RUNNER = "FnApiRunner"
    try:
        yield
    finally:
        StandardOptions.DEFAULT_RUNNER = before


def outputs(ir: pipeline_pb2.Pipeline) -> history.Outputs:
    """What the nodes of a run did."""
    with mlmd.connected(ir) as metadata:
        return history.outputs(metadata, ir.pipeline_info.id, run_id_of(ir), node_ids(ir))


def upstream(ir: pipeline_pb2.Pipeline) -> dict[str, list[str]]:
    """Each node with those before it, in an order in which they can run."""
    specs = [node.pipeline_node for node in ir.nodes]
    return {spec.node_info.id: list(spec.upstream_nodes) for spec in specs}


def run_node(ir: pipeline_pb2.Pipeline, node: str) -> None:
    """Runs one node of a run in a process that has done nothing else; see `launch.launch`."""
    be_quiet()
    beam_workers.prepare(origin(ir).config.get("beam", {}).get("workers", 1))
    launch(ir, node)


def run_serialised(ir: bytes, node: str) -> bool:
    """Runs one node of an IR from another process; returns whether it came from the cache."""
    run = pipeline_pb2.Pipeline.FromString(ir)
    run_node(run, node)
    return node in outputs(run).cached


def record_if_finished(ir: pipeline_pb2.Pipeline, root: Path, logs: Path) -> None:
    """Writes the record of a run whose nodes have all finished; two may write the same one."""
    with mlmd.connected(ir) as metadata:
        done = history.finished(metadata, ir.pipeline_info.id, run_id_of(ir))
        began = history.began(metadata, ir.pipeline_info.id, run_id_of(ir))
    if done.issuperset(node_ids(ir)):
        took = max(0.0, time.time() - began)  # a clock may have been set back
        Run.of(origin(ir), outputs(ir), root, took, logs).write(root)
