"""Launches one node of a compiled pipeline with TFX's portable launcher. Imports TFX."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import logging
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable.launcher import DEFAULT_EXECUTOR_OPERATORS, Launcher
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from cxrflow.pipeline import history, leftovers, mlmd
from cxrflow.pipeline.ir import artifacts
from cxrflow.pipeline.operators import BeamOperator, PythonOperator
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.memory import give_back

_OPERATORS = {
    executable_spec_pb2.BeamExecutableSpec: BeamOperator,
    executable_spec_pb2.PythonClassExecutableSpec: PythonOperator,
}


@contextmanager
def own_operators() -> Iterator[None]:
    """TFX's own runners, which take no operators, launch nodes inside as `launch` does."""
    before = dict(DEFAULT_EXECUTOR_OPERATORS)
    DEFAULT_EXECUTOR_OPERATORS.update(_OPERATORS)
    try:
        yield
    finally:
        DEFAULT_EXECUTOR_OPERATORS.update(before)


def launch(ir: pipeline_pb2.Pipeline, node: str) -> None:
    """Runs one node of a run, or takes it from the cache; inside the root.

    What attempts that were stopped left of the same node, in this run or another one, is removed
    first. A node that this run has finished already isn't run again.

    Args:
        ir: of `ir.of_run`.
        node: id of the node, which no other process runs.

    Raises:
        CxrflowError: a node before it hasn't finished in this run, or it got no inputs.
        Exception: what the node raised.
    """
    logging.info("Component %s is running.", node)
    pipeline, run_id = ir.pipeline_info.id, run_id_of(ir)
    spec = next(n.pipeline_node for n in ir.nodes if n.pipeline_node.node_info.id == node)
    with mlmd.connected(ir) as store:
        begun = history.executions(store, pipeline, run_id)
        done = history.finished(store, pipeline, run_id)
        if missing := [name for name in spec.upstream_nodes if name not in done]:
            raise CxrflowError(
                f"{node} comes after {', '.join(missing)}, which run {run_id} hasn't finished yet"
            )
        if node not in done:
            leftovers.clear_node(store, pipeline, artifacts(ir), node)
    if node in done:
        logging.info("A cached execution %d is used.", begun[node].id)
    else:
        _launcher(ir, spec).launch()
        # The next node may start processes beside this one. Collecting would cost half a second.
        give_back(collect=False)
        with mlmd.connected(ir) as store:
            ended = history.executions(store, pipeline, run_id).get(node)
            succeeded = node in history.finished(store, pipeline, run_id)
        if not succeeded:  # the launcher says so in ML Metadata alone
            raise CxrflowError(f"{node} couldn't start: {_reason(ended)}")
    logging.info("Component %s is finished.", node)


def run_id_of(ir: pipeline_pb2.Pipeline) -> str:
    """The run that `ir.of_run` was asked for."""
    return str(ir.runtime_spec.pipeline_run_id.field_value.string_value)


def _launcher(ir: pipeline_pb2.Pipeline, spec: Any) -> Launcher:
    deployment = runner_utils.extract_local_deployment_config(ir)
    node = spec.node_info.id
    return Launcher(
        pipeline_node=spec,
        mlmd_connection=metadata.Metadata(mlmd.connection_of(ir)),
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node),
        custom_executor_operators=_OPERATORS,
    )


def _reason(execution: Any) -> str:
    text = execution.custom_properties["__execution_result__"].string_value if execution else ""
    lines = str(text).strip().splitlines() or ["the log has the reason"]
    return lines[-1][:200]
