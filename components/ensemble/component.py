"""The Ensemble node."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from cxrflow.components.ensemble.executor import Executor
from cxrflow.components.evaluate.component import VerdictArtifact


class EnsembleReport(types.Artifact):
    """A folder with `ensemble.json`: AUC of every member and method, per class and split."""

    TYPE_NAME = "CxrflowEnsembleReport"


class EnsembleSpec(ComponentSpec):
    """Inputs, outputs and settings of `Ensemble`."""

    INPUTS = {  # noqa: RUF012 (TFX's interface)
        "models": ChannelParameter(type=standard_artifacts.Model),
        "verdicts": ChannelParameter(type=VerdictArtifact),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {  # noqa: RUF012
        "model": ChannelParameter(type=standard_artifacts.Model),
        "report": ChannelParameter(type=EnsembleReport),
    }
    PARAMETERS = {  # noqa: RUF012
        "settings": ExecutionParameter(type=str),  # JSON object
        "calibrate": ExecutionParameter(type=str),  # JSON object
        "classes": ExecutionParameter(type=str),  # JSON list
        "compact": ExecutionParameter(type=str),  # JSON object
        "synthetic": ExecutionParameter(type=int),
        "data_version": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
    }


class Ensemble(base_component.BaseComponent):
    """Combines trained models into one that is served like any of them.

    Outputs `model`, a SavedModel with a Trainer's signatures, and `report`, a folder with
    `ensemble.json`.
    """

    SPEC_CLASS = EnsembleSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        models: types.BaseChannel,
        verdicts: types.BaseChannel,
        examples: types.BaseChannel,
        settings: Mapping[str, Any],
        calibrate: Mapping[str, Any],
        classes: Sequence[str],
        compact: Mapping[str, Any],
        synthetic: bool = False,
        data_version: str = "",
        code_version: str = "",
    ):
        """Makes the node.

        Args:
            models: Trainers', joined with `tfx.types.channel.union`.
            verdicts: Gates' on these models, joined likewise, in any order.
            examples: Transform's, with splits eval (for every choice) and test (reported only).
            settings: fields of `EnsembleConfig`.
            calibrate: `method`, `sensitivity` and `specificity`, as for a Trainer.
            classes: names in the order of the labels.
            compact: `image_size`, `encoding` and `jpeg_quality` of the transformed images.
            synthetic: the images are phantoms.
            data_version: of the data, for model.json.
            code_version: a changed one runs the node again.
        """
        super().__init__(
            spec=EnsembleSpec(
                models=models,
                verdicts=verdicts,
                examples=examples,
                settings=json.dumps(dict(settings), sort_keys=True),
                calibrate=json.dumps(dict(calibrate), sort_keys=True),
                classes=json.dumps(list(classes)),
                compact=json.dumps(dict(compact), sort_keys=True),
                synthetic=int(synthetic),
                data_version=data_version,
                code_version=code_version,
                model=types.Channel(type=standard_artifacts.Model),
                report=types.Channel(type=EnsembleReport),
            )
        )
