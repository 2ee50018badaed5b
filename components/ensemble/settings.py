"""How members are combined, as data."""

from typing import Literal

from pydantic import Field

from schema.settings import Positive, Rate, settings

# What is scored, simplest first; hard_vote_majority is hard_vote's second output.
METHODS = ("mean", "weighted", "hard_vote", "hard_vote_majority", "max_vote", "stacked")


@settings
class EnsembleConfig:
    """The ensemble that is exported."""

    # best: the one with the highest mean eval AUC
    method: Literal["best", "mean", "weighted", "hard_vote", "max_vote", "stacked"] = "best"
    folds: int = Field(5, ge=2)  # of eval, by patient, to score methods that are fitted on it
    # weighted: pulls towards equal weights as this many images would that favour no member.
    equal_weights_images: Rate = 50.0
    stacking_c: Rate = 1.0  # stacked: inverse strength of the regression's L2 penalty
    batch_size: Positive = 32  # images predicted at once
