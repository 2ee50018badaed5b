"""The ValidationGate node."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, component_spec, standard_artifacts

from cxrflow.components.validate.executor import Executor


class ValidationReport(artifact.Artifact):
    """A folder with `report.json`: images per split, and the distances between splits."""

    TYPE_NAME = "ValidationReport"


class ValidationGateSpec(component_spec.ComponentSpec):
    """Inputs, outputs and execution properties of ValidationGate."""

    PARAMETERS = {  # noqa: RUF012
        "max_eval_distance": component_spec.ExecutionParameter(type=float),
        "max_test_distance": component_spec.ExecutionParameter(type=float),
        "synthetic": component_spec.ExecutionParameter(type=int),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {  # noqa: RUF012
        "report": component_spec.ChannelParameter(type=ValidationReport),
    }


class ValidationGate(base_component.BaseComponent):
    """Stops the run on ExampleValidator's anomalies and on splits that differ too much.

    Nodes that must not run on bad data need it upstream (`add_upstream_node`).
    """

    SPEC_CLASS = ValidationGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        max_eval_distance: float,
        max_test_distance: float,
        code_version: str,
        synthetic: bool = False,
    ):
        """Constructs the node.

        Args:
            statistics: StatisticsGen's, splits train, eval and test.
            schema: the contract of the raw examples.
            anomalies: ExampleValidator's.
            max_eval_distance: how far eval may be from train, 0 to 1; see `gate.distances`.
            max_test_distance: how far test may be from train.
            code_version: hash of this step's source; new code, new run.
            synthetic: the examples are phantoms; the report says so.
        """
        super().__init__(
            ValidationGateSpec(
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                max_eval_distance=max_eval_distance,
                max_test_distance=max_test_distance,
                synthetic=int(synthetic),
                code_version=code_version,
                report=types.Channel(type=ValidationReport),
            )
        )
