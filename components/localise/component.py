"""The Localiser node."""

from tfx.types.standard_artifacts import Examples, Model

from cxrflow.components import artifacts
from cxrflow.components.localise.executor import Executor
from cxrflow.components.localise.settings import LocaliserSettings
from cxrflow.components.node import Input, Node, Output


class Localiser(Node):
    """Scores a model's attention maps against the boxes that radiologists drew on test images.

    Outputs `report`, a folder with `localisation.json`.
    """

    EXECUTOR = Executor
    SETTINGS = LocaliserSettings

    model: Input[Model]  # the one that may be pushed
    examples: Input[Examples]  # ImageExampleGen's, with a split test
    report: Output[artifacts.LocalisationReport]
