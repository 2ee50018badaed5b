"""The Transform node."""

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from cxrflow.components.transform.executor import Executor


class TransformSpec(component_spec.ComponentSpec):
    """Inputs, outputs and execution properties of Transform."""

    PARAMETERS = {  # noqa: RUF012
        "custom_config": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "records": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {  # noqa: RUF012
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "transformed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }


class Transform(base_beam_component.BaseBeamComponent):
    """Turns raw examples into compact images, k-hot labels and slice features.

    Outputs are those of TFX's Transform:
        transform_graph: for tft.TFTransformOutput; also has the training split's label counts,
            see `preprocessing.prevalence`.
        transformed_examples: uncompressed TFRecords, splits as in `examples`.
    """

    SPEC_CLASS = TransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        records: types.BaseChannel,
        schema: types.BaseChannel,
        custom_config: dict[str, Any],
    ):
        """Constructs the node.

        Args:
            examples: raw examples, split train among them.
            records: the same without `image/encoded`; all that the analysis needs.
            schema: the raw examples' schema.
            custom_config: for `preprocessing.preprocessing_fn`, and `code_version`, a hash of this
                step's source: new code, new run.
        """
        super().__init__(
            TransformSpec(
                examples=examples,
                records=records,
                schema=schema,
                custom_config=json.dumps(custom_config, sort_keys=True),
                transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
                transformed_examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
