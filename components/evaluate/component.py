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
from cxrflow.components.evaluate.executor import Executor
from cxrflow.components.evaluate.settings import GateSettings
from cxrflow.components.node import Input, Node, Output
from cxrflow.components.storage import fetch
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import read_model_json

# Models that differ in one of these fields of model.json can't be scored on the same examples.
COMPARABLE = ("classes", "compact", "synthetic")


class LatestOtherBlessedModelStrategy(LatestBlessedModelStrategy):
    """The latest blessed model that isn't the candidate and can be compared with it.

    TFX's own strategy resolves to the candidate itself once that is blessed. A second run with
    nothing changed would then evaluate the model against itself instead of using the cache.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolves `model` and `model_blessing`; `candidate` is passed on as it is."""
        candidate = input_dict["candidate"]
        wanted = {_comparable(model) for model in candidate} - {None}
        others = {
            "model": [
                model
                for model in input_dict["model"]
                if model.id not in {c.id for c in candidate} and _comparable(model) in wanted
            ],
            "model_blessing": input_dict["model_blessing"],
        }
        resolved = super().resolve_artifacts(store, others) or {}
        return {"model": [], "model_blessing": [], **resolved, "candidate": candidate}


def _comparable(model: types.Artifact) -> tuple[object, ...] | None:
    try:
        info = read_model_json(Path(path_utils.serving_model_path(str(fetch(model.uri)))))
    except CxrflowError:  # none, or of a newer cxrflow
        return None
    return tuple(getattr(info, field) for field in COMPARABLE)


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
    blessing: Output[ModelBlessing]
    verdict: Output[artifacts.Verdict]
