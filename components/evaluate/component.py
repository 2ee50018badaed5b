"""The nodes around TFX's Evaluator: which model to compare with, and the gate."""

from pathlib import Path
from typing import Any

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
        info = read_model_json(Path(path_utils.serving_model_path(model.uri)))
    except CxrflowError:  # none, or of a newer cxrflow
        return None
    return tuple(getattr(info, field) for field in COMPARABLE)


class Gate(Node):
    """Judges a model by its per-class AUC on one split, and says why or why not.

    Outputs `verdict`, a folder with `verdict.json`; on the test split also `blessing`, a
    ModelBlessing as TFX's Evaluator writes it, which Resolver and Pusher honour.
    """

    EXECUTOR = Executor
    SETTINGS = GateSettings

    evaluation: Input[ModelEvaluation]  # TFX's Evaluator's, run with `tfma_config.eval_config`
    model: Input[Model]  # the one evaluated
    baseline_model: Input[Model] | None  # the one that the Evaluator compared with
    blessing: Output[ModelBlessing] | None
    verdict: Output[artifacts.Verdict]

    def __init__(self, settings: GateSettings, code_version: str, **inputs: Any) -> None:
        """Makes the node."""
        # An ensemble's member is never the last blessed model: only what may be pushed is blessed.
        without = () if settings.split == "test" else ("blessing",)
        super().__init__(settings, code_version, without, **inputs)
