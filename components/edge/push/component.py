"""The node that publishes an edge bundle."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from cxrflow.components.edge.parity.component import EdgeBundle
from cxrflow.components.edge.push.executor import Executor


class EdgePush(types.Artifact):
    """What became of a bundle: `pushed`, 1 or 0, and the folder, `edge_destination`."""

    TYPE_NAME = "CxrflowEdgePush"


class EdgePusherSpec(ComponentSpec):
    """Input, output and settings of `EdgePusher`."""

    INPUTS = {"bundle": ChannelParameter(type=EdgeBundle)}  # noqa: RUF012 (TFX's interface)
    OUTPUTS = {"push": ChannelParameter(type=EdgePush)}  # noqa: RUF012
    PARAMETERS = {  # noqa: RUF012
        "destination": ExecutionParameter(type=str),
        "keep_versions": ExecutionParameter(type=int),
        "published": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
    }


class EdgePusher(base_component.BaseComponent):
    """Copies a bundle with blessed variants to `<destination>/<version>/`, whole or not at all.

    Outputs `push`, whose custom properties tell what became of it.
    """

    SPEC_CLASS = EdgePusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        bundle: types.BaseChannel,
        destination: str,
        keep_versions: int,
        published: str = "",
        code_version: str = "",
    ):
        """Makes the node.

        Args:
            bundle: EdgeEvaluator's.
            destination: local folder of the versions, absolute.
            keep_versions: how many stay there.
            published: `push.published(destination)`, so that a folder that was emptied is filled
                again.
            code_version: a changed one runs the node again.
        """
        super().__init__(
            spec=EdgePusherSpec(
                bundle=bundle,
                destination=destination,
                keep_versions=keep_versions,
                published=published,
                code_version=code_version,
                push=types.Channel(type=EdgePush),
            )
        )
