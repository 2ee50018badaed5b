"""What a node gets on a cluster: the settings `cluster:` of a profile."""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from cxrflow.schema.settings import Count, Positive, settings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


@settings
class Resources:
    """What one node gets of a cluster."""

    cpus: Positive = 2
    """Cores."""
    memory_gb: Positive = 8
    """Memory, in GB of 2^30 bytes."""
    gpus: Count = 0
    """NVIDIA GPUs."""
    queue: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    """Slurm's partition and Airflow's queue; empty: the default one."""


def _trainers() -> dict[str, Resources]:
    return {"Trainer": Resources(cpus=8, memory_gb=32, gpus=1)}


@settings
class ClusterConfig:
    """For `cxrflow compile --engine`: what nodes get, and where their containers find things."""

    default: Resources = field(default_factory=Resources)
    """What the nodes get that aren't named."""
    nodes: dict[Name, Resources] = field(default_factory=_trainers)
    """What nodes get by id (Trainer.lse), or by what stands before its dot; the id goes first."""
    image: str = "cxrflow:0.1.0"
    """Container image with cxrflow: the Dockerfile's target `pipeline`."""
    claim: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")] = "cxrflow"
    """Kubernetes' PersistentVolumeClaim (ReadWriteMany) that has the root and the data."""
    mount: Annotated[str, Field(pattern=r"^/")] = "/cxrflow"
    """Where it is mounted; root and data lie below, here and in the containers."""

    def of(self, node: str) -> Resources:
        """What a node gets."""
        kind = node.partition(".")[0]
        return self.nodes.get(node) or self.nodes.get(kind) or self.default
