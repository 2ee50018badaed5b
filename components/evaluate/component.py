"""The nodes around TFX's Evaluator: which model to compare with, and the gate."""

from pathlib import Path

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.types.standard_artifacts import Model, ModelBlessing, ModelEvaluation
from tfx.utils import path_utils

from cxrflow.components import artifacts
from cxrflow.components.evaluate.comparable import why_not
from cxrflow.components.evaluate.executor import Executor
from cxrflow.components.evaluate.settings import GateSettings
from cxrflow.components.node import Input, Node, Output
from cxrflow.components.storage import fetch
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson, read_model_json


class LatestOtherBlessedModelStrategy(LatestBlessedModelStrategy):
    """The latest blessed model that isn't the candidate and can be compared with it.

    TFX's own strategy resolves to the candidate itself once that is blessed. A second run with
    nothing changed would then evaluate the model against itself instead of using the cache.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolves `model` and `model_blessing`, and `passed_over`: the latest blessed model of
        all, where it can't be compared. `candidate` is passed on as it is.
        """
        candidate = input_dict["candidate"]
        wanted = [info for info in map(_info, candidate) if info]
        others = [m for m in input_dict["model"] if m.id not in {c.id for c in candidate}]

        def latest(models: list[types.Artifact]) -> dict[str, list[types.Artifact]]:
            inputs = {"model": models, "model_blessing": input_dict["model_blessing"]}
            found = super(LatestOtherBlessedModelStrategy, self).resolve_artifacts(store, inputs)
            return found or {"model": [], "model_blessing": []}

        compared = latest(
            [
                model
                for model in others
                if (info := _info(model)) and any(not why_not(one, info) for one in wanted)
            ]
        )
        known = {model.id for model in compared["model"]}
        passed_over = [model for model in latest(others)["model"] if model.id not in known]
        return {**compared, "passed_over": passed_over, "candidate": candidate}


def _info(model: types.Artifact) -> ModelJson | None:
    try:
        return read_model_json(Path(path_utils.serving_model_path(str(fetch(model.uri)))))
    except CxrflowError:  # none, or of a newer cxrflow
        return None


class Gate(Node):
    """Judges the model that may be pushed by its scores, and says why or why not.

    Outputs `verdict`, a folder with `verdict.json` (see `verdict`), and `blessing`, a ModelBlessing
    as TFX's Evaluator writes it, which Resolver and Pusher honour, with the same file.
    """

    EXECUTOR = Executor
    SETTINGS = GateSettings

    evaluation: Input[ModelEvaluation]  # TFX's Evaluator's, run with `tfma_config.eval_config`
    model: Input[Model]  # the one evaluated
    scores: Input[artifacts.Scores]  # the same model's
    baselines: Input[artifacts.Scores]  # the Baselines node's
    baseline_model: Input[Model] | None  # the last blessed model
    last_scores: Input[artifacts.Scores]  # that model's; empty without one
    passed_over: Input[Model] | None  # a later blessed model, which can't be compared
    blessing: Output[ModelBlessing]
    verdict: Output[artifacts.Verdict]
