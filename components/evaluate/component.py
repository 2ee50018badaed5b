"""The nodes around TFX's Evaluator: which model to compare with, and the gate."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from cxrflow.components.evaluate.executor import Executor
from cxrflow.components.evaluate.gate import Limits
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import read_model_json

# Models that differ in one of these fields of model.json can't be scored on the same examples.
COMPARABLE = ("classes", "compact", "synthetic")


class VerdictArtifact(types.Artifact):
    """A folder with `verdict.json`."""

    TYPE_NAME = "CxrflowVerdict"


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


class GateSpec(ComponentSpec):
    """Inputs, outputs and settings of `Gate`."""

    INPUTS = {  # noqa: RUF012 (TFX's interface)
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        "verdict": ChannelParameter(type=VerdictArtifact),
    }
    PARAMETERS = {  # noqa: RUF012
        "classes": ExecutionParameter(type=str),  # JSON list
        "limits": ExecutionParameter(type=str),  # JSON object
        "name": ExecutionParameter(type=str),
        "split": ExecutionParameter(type=str),
        "synthetic": ExecutionParameter(type=int),
        "code_version": ExecutionParameter(type=str),
    }


class Gate(base_component.BaseComponent):
    """Judges a model by its per-class AUC on one split, and says why or why not.

    Outputs `verdict`, a folder with `verdict.json`; on the test split also `blessing`, a
    ModelBlessing as TFX's Evaluator writes it, which Resolver and Pusher honour.
    """

    SPEC_CLASS = GateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        evaluation: types.BaseChannel,
        model: types.BaseChannel,
        classes: Sequence[str],
        limits: Limits,
        name: str,
        split: str = "test",
        baseline_model: types.BaseChannel | None = None,
        synthetic: bool = False,
        code_version: str = "",
    ):
        """Makes the node.

        Args:
            evaluation: TFX's Evaluator's, run with `tfma_config.eval_config`.
            model: the model evaluated.
            classes: names in the order of the labels.
            limits: what the model must reach.
            name: the model's, for the verdict.
            split: the one that decides.
            baseline_model: the one that the Evaluator compared with.
            synthetic: the test split holds phantoms.
            code_version: a changed one runs the node again.
        """
        # An ensemble's member is never the last blessed model: only what may be pushed is blessed.
        blessing = (
            {"blessing": types.Channel(type=standard_artifacts.ModelBlessing)}
            if split == "test"
            else {}
        )
        super().__init__(
            spec=GateSpec(
                evaluation=evaluation,
                model=model,
                baseline_model=baseline_model,
                classes=json.dumps(list(classes)),
                limits=json.dumps(asdict(limits), sort_keys=True),
                name=name,
                split=split,
                synthetic=int(synthetic),
                code_version=code_version,
                verdict=types.Channel(type=VerdictArtifact),
                **blessing,
            )
        )
