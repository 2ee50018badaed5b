"""The node that publishes an edge bundle."""

from cxrflow.components import artifacts
from cxrflow.components.edge.push.executor import Executor
from cxrflow.components.edge.push.settings import EdgePusherSettings
from cxrflow.components.node import Input, Node, Output


class EdgePusher(Node):
    """Copies a bundle with blessed variants to `<destination>/<version>/`, whole or not at all.

    Output `push`, whose custom properties tell what became of it.
    """

    EXECUTOR = Executor
    SETTINGS = EdgePusherSettings

    bundle: Input[artifacts.EdgeBundle]
    push: Output[artifacts.EdgePush]
