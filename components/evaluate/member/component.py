"""The gate before the ensemble."""

from tfx.types.standard_artifacts import Model, ModelEvaluation

from cxrflow.components import artifacts
from cxrflow.components.evaluate.member.executor import Executor
from cxrflow.components.evaluate.settings import MemberGateSettings
from cxrflow.components.node import Input, Node, Output


class MemberGate(Node):
    """Judges a trained model by its per-class AUC on eval: whether it joins the ensemble.

    It blesses nothing: an ensemble's member is never the last blessed model.
    """

    EXECUTOR = Executor
    SETTINGS = MemberGateSettings

    evaluation: Input[ModelEvaluation]  # TFX's Evaluator's, run with `tfma_config.eval_config`
    model: Input[Model]  # the one evaluated
    verdict: Output[artifacts.Verdict]
