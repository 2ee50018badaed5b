"""The ValidationGate node."""

from tfx.types.standard_artifacts import (
    ExampleAnomalies,
    Examples,
    ExampleStatistics,
    Schema,
)

from cxrflow.components import artifacts
from cxrflow.components.node import Input, Node, Output
from cxrflow.components.validate.executor import Executor
from cxrflow.components.validate.settings import ValidationGateSettings


class ValidationGate(Node):
    """Stops the run on ExampleValidator's anomalies, on splits that differ too much and on classes
    of fewer patients than a member's cross-fitting needs.

    Nodes that must not run on bad data need it upstream (`add_upstream_node`).
    """

    EXECUTOR = Executor
    SETTINGS = ValidationGateSettings

    statistics: Input[ExampleStatistics]  # splits train, eval and test
    schema: Input[Schema]  # the contract of the raw examples
    anomalies: Input[ExampleAnomalies]
    records: Input[Examples]  # raw, without `image/encoded`
    report: Output[artifacts.ValidationReport]
