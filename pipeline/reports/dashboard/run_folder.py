"""The run that the report is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.pipeline.record import Run

SPLITS = ("test", "eval")


@dataclass(frozen=True)
class RunFolder:
    """What the report shows of a run."""

    root: Path
    artifacts: Mapping[str, Mapping[str, str]]  # node id -> output key -> folder
    ingest: Mapping[str, Any]  # settings of the ingest step
    data_dir: Path
    synthetic: bool
    min_shown: int  # positives and negatives that a class's AUC needs
    model: Path | None = None  # the SavedModel that was pushed, or would have been
    pushed: str = ""  # folder of the pushed version; empty where the gate said no
    seconds: float = 0.0
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, root: Path, min_shown: int) -> "RunFolder":
        """The finished run in `root`."""
        try:
            model: Path | None = run.model
        except (KeyError, IndexError):  # no model was trained
            model = None
        return cls(
            root=root.resolve(),
            artifacts=run.artifacts,
            ingest=run.config["ingest"],
            data_dir=Path(run.data_dir),
            synthetic=run.synthetic,
            min_shown=run.config.get("evaluate", {}).get("min_shown", min_shown),
            model=model,
            pushed=run.pushed,
            seconds=run.seconds,
            config=run.config,
        )

    def output(self, node: str, key: str) -> Path | None:
        """The folder of a node's output, if it is there."""
        uri = self.artifacts.get(node, {}).get(key)
        return Path(uri) if uri and Path(uri).is_dir() else None


@dataclass(frozen=True)
class Page:
    """One page: what it is called, its template, what that shows."""

    file: str
    title: str
    template: str
    content: dict[str, Any]
    group: str = ""  # of the menu; empty: it isn't in there
