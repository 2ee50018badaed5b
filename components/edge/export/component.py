"""The EdgeExport node."""

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from cxrflow.components.edge.export.executor import Executor
from cxrflow.components.evaluate.component import VerdictArtifact


class EdgeCandidate(types.Artifact):
    """A folder with every variant of a model, not yet judged, and custom property `exported`, 1.

    With 0 the folder is empty: the model wasn't blessed.
    """

    TYPE_NAME = "CxrflowEdgeCandidate"


class EdgeExportSpec(ComponentSpec):
    """Inputs, outputs and settings of `EdgeExport`."""

    INPUTS = {  # noqa: RUF012 (TFX's interface)
        "model": ChannelParameter(type=standard_artifacts.Model),
        "verdicts": ChannelParameter(type=VerdictArtifact),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {  # noqa: RUF012
        "candidate": ChannelParameter(type=EdgeCandidate),
    }
    PARAMETERS = {  # noqa: RUF012
        "settings": ExecutionParameter(type=str),  # JSON object
        "synthetic": ExecutionParameter(type=int),
        "code_version": ExecutionParameter(type=str),
    }


class EdgeExport(base_component.BaseComponent):
    """Converts a blessed model for the device.

    Output `candidate`, a folder with LiteRT, TensorFlow 2.7 and ONNX variants, golden answers and
    the device's scripts, which EdgeEvaluator judges.
    """

    SPEC_CLASS = EdgeExportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        verdicts: types.BaseChannel,
        examples: types.BaseChannel,
        transformed_examples: types.BaseChannel,
        settings: Mapping[str, Any],
        synthetic: bool = False,
        code_version: str = "",
    ):
        """Makes the node.

        Args:
            model: a Trainer's or the ensemble.
            verdicts: Gates', joined with `tfx.types.channel.union`: all must say blessed.
            examples: ImageExampleGen's, with a split eval, for the golden images.
            transformed_examples: Transform's, with a split train, for int8's ranges.
            settings: fields of `EdgeConfig`.
            synthetic: the images are phantoms.
            code_version: a changed one runs the node again.
        """
        super().__init__(
            spec=EdgeExportSpec(
                model=model,
                verdicts=verdicts,
                examples=examples,
                transformed_examples=transformed_examples,
                settings=json.dumps(dict(settings), sort_keys=True),
                synthetic=int(synthetic),
                code_version=code_version,
                candidate=types.Channel(type=EdgeCandidate),
            )
        )
