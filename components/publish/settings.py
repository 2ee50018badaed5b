"""How a model is checked before it is pushed, and what a push leaves in the serving folder."""

from typing import Literal

from schema.settings import Positive, Rate, settings


@settings
class PublishConfig:
    """What a push does besides copying the model."""

    # stable: the new version is served. canary: only to those who ask for it, until
    # `cxrflow models promote` makes it stable.
    label: Literal["stable", "canary"] = "stable"
    # The newest ones; besides them what is labelled, pinned, loaded, or was stable before stays.
    keep_versions: Positive = 5


@settings
class ServingCheckConfig:
    """The check that a model must pass in a server, and its budget.

    infra_validator is TFX's own, which needs Docker and asks the tensorflow/serving image once.
    """

    kind: Literal["embedded", "infra_validator", "none"] = "embedded"
    images: Positive = 16  # of eval, each sent once and compared
    requests: Positive = 50  # that are timed, one image each, one after another
    max_difference: Rate = 0.001  # of a probability from the Trainer's
    max_latency_ms: Rate = 2000.0  # 95th percentile
    max_memory_mb: Positive = 4096  # of the server's process at its peak
    start_seconds: Positive = 300  # until the server answers, loading and warm-up included
    docker_image_tag: str = "2.21.0"  # of tensorflow/serving, for infra_validator
