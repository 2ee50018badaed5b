"""The RecipeCheck node."""

from cxrflow.components import artifacts
from cxrflow.components.node import Node, Output
from cxrflow.components.train.executor import Executor
from cxrflow.components.train.settings import RecipeCheckSettings


class RecipeCheck(Node):
    """Stops the run on a recipe that names a layer or weights that can't be used, or whose network
    is to be exported and can't become a LiteRT model.

    Nodes that must not run before it need it upstream (`add_upstream_node`).
    """

    EXECUTOR = Executor
    SETTINGS = RecipeCheckSettings

    report: Output[artifacts.RecipeReport]
