"""How a model is checked before it is pushed, and what a push leaves in the serving folder."""

from typing import Literal

from cxrflow.schema.settings import Positive, Rate, settings


@settings
class PublishConfig:
    """What a push does besides copying the model."""

    label: Literal["stable", "canary"] = "stable"
    """stable: a new version is served; canary: only on request, until it is promoted."""
    keep_versions: Positive = 5
    """Newest versions that stay, besides those labelled, pinned, loaded or stable before."""
    signing_key: str = ""
    """PEM file of an Ed25519 private key that signs what is pushed; empty: nothing does."""


@settings
class ServingCheckConfig:
    """The check that a model must pass in a server, and its budget.

    infra_validator is TFX's own, which needs Docker and asks the tensorflow/serving image once.
    """

    kind: Literal["embedded", "infra_validator", "none"] = "embedded"
    """embedded: our server; infra_validator: TFX's node, which needs Docker; none: no check."""
    images: Positive = 16
    """Eval images that are sent once each and compared."""
    requests: Positive = 50
    """Requests that are timed, one image each, one after another."""
    max_difference: Rate = 0.001
    """Largest difference of a probability from the Trainer's."""
    max_latency_ms: Rate = 2000.0
    """95th percentile of the answers' time, in milliseconds."""
    max_memory_mb: Positive = 4096
    """Peak memory of the server's process, in megabytes."""
    start_seconds: Positive = 300
    """Seconds until the server answers, loading and warm-up included."""
    docker_image_tag: str = "2.21.0"
    """Tag of the image tensorflow/serving, for infra_validator."""


@settings
class PusherSettings:
    """Settings of Pusher."""

    destination: str
    """Local folder of the versions."""
    publish: PublishConfig
    """What a push does besides copying."""
    published: str
    """`push.published` of the destination: a folder that was emptied is filled again."""
