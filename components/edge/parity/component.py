"""The EdgeEvaluator node."""

from tfx.types.standard_artifacts import Examples, Model

from cxrflow.components import artifacts
from cxrflow.components.edge.parity.executor import Executor
from cxrflow.components.edge.parity.settings import EdgeEvaluatorSettings
from cxrflow.components.node import Input, Node, Output


class EdgeEvaluator(Node):
    """Compares each variant of an edge bundle with the model that it was made from.

    Outputs `bundle`, what EdgePusher pushes: only the variants that keep what the settings demand;
    and `report`, a folder with `parity_report.json`, also when there is nothing to push.
    """

    EXECUTOR = Executor
    SETTINGS = EdgeEvaluatorSettings

    candidate: Input[artifacts.EdgeCandidate]  # the bundle with all variants
    model: Input[Model]  # what EdgeExport made it from
    transformed_examples: Input[Examples]  # with a split eval
    scores: Input[artifacts.Scores] | None  # the model's, where an ensemble taught it
    member_scores: Input[artifacts.Scores] | None  # the ensemble's members'
    bundle: Output[artifacts.EdgeBundle]
    report: Output[artifacts.EdgeReport]
