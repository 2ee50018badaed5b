"""The nodes and edges of a compiled pipeline, read from its file with the standard library alone.

Orchestrators import this: they know neither TFX nor TensorFlow.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.schema.errors import CxrflowError, did_you_mean


@dataclass(frozen=True)
class Graph:
    """What an orchestrator has to know of a pipeline."""

    name: str
    root: str  # absolute folder of the run, as the machine saw it that compiled
    upstream: dict[str, tuple[str, ...]]  # node -> nodes before it; in an order that can be run
    config: dict[str, Any] = field(default_factory=dict)  # the run's settings
    data_dir: str = ""  # relative to the root where it lies below it
    made_with: dict[str, str] = field(default_factory=dict)  # `made_with.here`

    def require(self, node: str) -> None:
        """Raises CxrflowError where the pipeline has no such node."""
        if node not in self.upstream:
            known = ", ".join(self.upstream)
            similar = did_you_mean(node, self.upstream)
            raise CxrflowError(f"the pipeline has no node {node}{similar}: it has {known}")


def read_graph(file: Path) -> Graph:
    """The graph of a file that `cxrflow compile` wrote.

    Raises:
        CxrflowError: the file can't be read, or is another one.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CxrflowError(
            f"{file} can't be read ({reason}): `cxrflow compile` writes it"
        ) from None
    try:
        ir = json.loads(text)
        nodes = [node["pipelineNode"] for node in ir["nodes"]]
        root = ir["runtimeSpec"]["pipelineRoot"]["runtimeParameter"]["defaultValue"]["stringValue"]
        beside = ir.get("deploymentConfig", {}).get("pipelineLevelPlatformConfig", {})
        origin = json.loads(beside.get("value", "{}"))
        return Graph(
            config=origin.get("config", {}),
            data_dir=origin.get("data_dir", ""),
            made_with=origin.get("made_with", {}),
            name=ir["pipelineInfo"]["id"],
            root=str(Path(root).parent),
            upstream={
                node["nodeInfo"]["id"]: tuple(node.get("upstreamNodes", ())) for node in nodes
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CxrflowError(
            f"{file} is no compiled pipeline: `cxrflow compile --output {file}` writes one"
        ) from None
