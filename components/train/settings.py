"""What RecipeCheck looks at, as data."""

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.settings import Positive, settings


@settings
class RecipeCheckSettings:
    """Settings of RecipeCheck."""

    recipes: dict[str, TrainConfig]
    """Members' recipes by name."""
    floor: TrainConfig
    """Recipe of the network whose features the baselines see."""
    classes: Positive
    """How many."""
    exported: tuple[str, ...]
    """Names of members whose networks the edge bundle is made of."""
    weights: dict[str, str]
    """`weights.weights_fingerprint` of each recipe: other files, new run."""
