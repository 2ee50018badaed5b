"""The EdgeEvaluator node."""

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from cxrflow.components.edge.export.component import EdgeCandidate
from cxrflow.components.edge.parity.executor import Executor


class EdgeBundle(types.Artifact):
    """A folder that may be pushed, with the custom property `blessed`, 1; or an empty one, 0."""

    TYPE_NAME = "CxrflowEdgeBundle"


class EdgeReport(types.Artifact):
    """A folder with `parity_report.json`."""

    TYPE_NAME = "CxrflowEdgeReport"


class EdgeEvaluatorSpec(ComponentSpec):
    """Inputs, outputs and settings of `EdgeEvaluator`."""

    INPUTS = {  # noqa: RUF012 (TFX's interface)
        "candidate": ChannelParameter(type=EdgeCandidate),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {  # noqa: RUF012
        "bundle": ChannelParameter(type=EdgeBundle),
        "report": ChannelParameter(type=EdgeReport),
    }
    PARAMETERS = {  # noqa: RUF012
        "settings": ExecutionParameter(type=str),  # JSON object
        "code_version": ExecutionParameter(type=str),
    }


class EdgeEvaluator(base_component.BaseComponent):
    """Compares each variant of an edge bundle with the model that it was made from.

    Outputs `bundle`, what EdgePusher pushes: only the variants that keep what the settings demand;
    and `report`, a folder with `parity_report.json`, also when there is nothing to push.
    """

    SPEC_CLASS = EdgeEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        candidate: types.BaseChannel,
        model: types.BaseChannel,
        transformed_examples: types.BaseChannel,
        settings: Mapping[str, Any],
        code_version: str = "",
    ):
        """Makes the node.

        Args:
            candidate: EdgeExport's bundle with all variants.
            model: what EdgeExport made it from.
            transformed_examples: Transform's, with a split eval.
            settings: fields of `EdgeConfig`.
            code_version: a changed one runs the node again.
        """
        super().__init__(
            spec=EdgeEvaluatorSpec(
                candidate=candidate,
                model=model,
                transformed_examples=transformed_examples,
                settings=json.dumps(dict(settings), sort_keys=True),
                code_version=code_version,
                bundle=types.Channel(type=EdgeBundle),
                report=types.Channel(type=EdgeReport),
            )
        )
