"""When what is asked is called other than what a model was trained on, as data."""

from cxrflow.schema.settings import Fraction, Positive, settings


@settings
class MonitorConfig:
    """Limits of `cxrflow monitor`, from 0 to 1, beyond chance."""

    min_answers: Positive = 100
    """Answers of a week that know a feature, below which the feature isn't judged."""
    max_distance: Fraction = 0.1
    """Largest distance of a feature's distribution from training: Jensen-Shannon's divergence of
    numbers, in bits; the largest difference between shares of sex and view."""
    max_ood_share: Fraction = 0.05
    """Largest share of answers that say the image may be no chest X-ray."""
