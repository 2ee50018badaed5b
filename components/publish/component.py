"""The nodes that check a blessed model in a server, and that publish it."""

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.components import InfraValidator
from tfx.components import Pusher as TfxPusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import infra_validator_pb2
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from cxrflow.components.publish.check_executor import Executor as CheckExecutor
from cxrflow.components.publish.executor import Executor


class Pusher(TfxPusher):
    """TFX's Pusher with our crash-safe executor.

    `custom_config` may hold `publish`, the fields of `PublishConfig`.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


class ServingReport(types.Artifact):
    """A folder with `serving_check.json`."""

    TYPE_NAME = "CxrflowServingReport"


class ServingCheckSpec(ComponentSpec):
    """Inputs, outputs and settings of `ServingCheck`."""

    INPUTS = {  # noqa: RUF012 (TFX's interface)
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "report": ChannelParameter(type=ServingReport),
    }
    PARAMETERS = {  # noqa: RUF012
        "settings": ExecutionParameter(type=str),  # JSON object
        "code_version": ExecutionParameter(type=str),
    }


class ServingCheck(base_component.BaseComponent):
    """Serves the candidate and asks it as a client would.

    Outputs `blessing`, an InfraBlessing as TFX's InfraValidator writes it, which the Pusher
    honours, and `report`, a folder with `serving_check.json`.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(CheckExecutor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        examples: types.BaseChannel,
        transformed_examples: types.BaseChannel,
        settings: Mapping[str, Any],
        code_version: str = "",
    ):
        """Makes the node.

        Args:
            model: the candidate.
            model_blessing: Gate's; a model without it isn't checked, and not blessed here either.
            examples: ImageExampleGen's, with a split eval.
            transformed_examples: Transform's.
            settings: fields of `ServingCheckConfig`.
            code_version: a changed one runs the node again.
        """
        super().__init__(
            spec=ServingCheckSpec(
                model=model,
                model_blessing=model_blessing,
                examples=examples,
                transformed_examples=transformed_examples,
                settings=json.dumps(dict(settings), sort_keys=True),
                code_version=code_version,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
                report=types.Channel(type=ServingReport),
            )
        )


def serving_check(
    model: types.BaseChannel,
    model_blessing: types.BaseChannel,
    examples: types.BaseChannel,
    transformed_examples: types.BaseChannel,
    settings: Mapping[str, Any],
    code_version: str = "",
) -> base_component.BaseComponent | None:
    """The node that `settings["kind"]` asks for; arguments as for `ServingCheck`."""
    if settings["kind"] == "none":
        return None
    if settings["kind"] == "embedded":
        return ServingCheck(
            model, model_blessing, examples, transformed_examples, settings, code_version
        )
    proto = infra_validator_pb2
    return InfraValidator(
        model=model,
        examples=examples,
        serving_spec=proto.ServingSpec(
            tensorflow_serving=proto.TensorFlowServing(tags=[settings["docker_image_tag"]]),
            local_docker=proto.LocalDockerConfig(),
        ),
        validation_spec=proto.ValidationSpec(
            max_loading_time_seconds=settings["start_seconds"], num_tries=2
        ),
        request_spec=proto.RequestSpec(
            tensorflow_serving=proto.TensorFlowServingRequestSpec(signature_names=["examples"]),
            split_name="eval",
            num_examples=settings["images"],
        ),
    )
