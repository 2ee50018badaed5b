"""The nodes that check a blessed model in a server, and that publish it."""

from tfx import types
from tfx.components import InfraValidator
from tfx.proto import infra_validator_pb2 as proto
from tfx.types.standard_artifacts import (
    Examples,
    InfraBlessing,
    Model,
    ModelBlessing,
    PushedModel,
)

from cxrflow.components import artifacts
from cxrflow.components.node import Input, Node, Output
from cxrflow.components.publish.check_executor import Executor as CheckExecutor
from cxrflow.components.publish.executor import Executor
from cxrflow.components.publish.settings import PusherSettings, ServingCheckConfig


class Pusher(Node):
    """TFX's Pusher with our crash-safe executor and settings, and a model card that goes along."""

    EXECUTOR = Executor
    SETTINGS = PusherSettings

    model: Input[Model]
    model_blessing: Input[ModelBlessing] | None
    infra_blessing: Input[InfraBlessing] | None
    card: Input[artifacts.ModelCard] | None  # which goes along, into assets.extra
    pushed_model: Output[PushedModel]


class ServingCheck(Node):
    """Serves the candidate and asks it as a client would.

    Outputs `blessing`, an InfraBlessing as TFX's InfraValidator writes it, which the Pusher
    honours, and `report`, a folder with `serving_check.json`.
    """

    EXECUTOR = CheckExecutor
    SETTINGS = ServingCheckConfig

    model: Input[Model]  # the candidate
    model_blessing: Input[ModelBlessing]  # without it nothing is checked, nor blessed here
    examples: Input[Examples]  # ImageExampleGen's, with a split eval
    transformed_examples: Input[Examples]
    blessing: Output[InfraBlessing]
    report: Output[artifacts.ServingReport]


def infra_validator(
    settings: ServingCheckConfig, model: types.BaseChannel, examples: types.BaseChannel
) -> InfraValidator:
    """TFX's own check, in the tensorflow/serving image, which needs Docker.

    Args:
        settings: image, time and number of examples.
        model: the candidate.
        examples: ImageExampleGen's, with a split eval.
    """
    return InfraValidator(
        model=model,
        examples=examples,
        serving_spec=proto.ServingSpec(
            tensorflow_serving=proto.TensorFlowServing(tags=[settings.docker_image_tag]),
            local_docker=proto.LocalDockerConfig(),
        ),
        validation_spec=proto.ValidationSpec(
            max_loading_time_seconds=settings.start_seconds, num_tries=2
        ),
        request_spec=proto.RequestSpec(
            tensorflow_serving=proto.TensorFlowServingRequestSpec(signature_names=["examples"]),
            split_name="eval",
            num_examples=settings.images,
        ),
    )
