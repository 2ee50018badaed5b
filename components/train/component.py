"""The RecipeCheck node."""

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, component_spec

from cxrflow.components.train.executor import Executor


class RecipeReport(artifact.Artifact):
    """A folder with `networks.json`: numbers of parameters of each member's network."""

    TYPE_NAME = "CxrflowRecipeReport"


class RecipeCheckSpec(component_spec.ComponentSpec):
    """Inputs, outputs and execution properties of RecipeCheck."""

    PARAMETERS = {  # noqa: RUF012
        "recipes": component_spec.ExecutionParameter(type=str),
        "classes": component_spec.ExecutionParameter(type=int),
        "weights": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, component_spec.ChannelParameter]] = {}
    OUTPUTS = {  # noqa: RUF012
        "report": component_spec.ChannelParameter(type=RecipeReport),
    }


class RecipeCheck(base_component.BaseComponent):
    """Stops the run on a recipe that names a layer or weights that can't be used.

    Nodes that must not run before it need it upstream (`add_upstream_node`).
    """

    SPEC_CLASS = RecipeCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, recipes: str, classes: int, weights: str, code_version: str):
        """Constructs the node.

        Args:
            recipes: JSON object, member's name to the fields of its TrainConfig.
            classes: how many.
            weights: `weights.weights_fingerprint` of the recipes; other files, new run.
            code_version: hash of this step's source; new code, new run.
        """
        super().__init__(
            RecipeCheckSpec(
                recipes=recipes,
                classes=classes,
                weights=weights,
                code_version=code_version,
                report=types.Channel(type=RecipeReport),
            )
        )
