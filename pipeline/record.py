"""What a finished run left, as kept in `<root>/run.json`; paths below the root move with it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.schema.commands import command_line
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole

if TYPE_CHECKING:
    from cxrflow.pipeline.history import Outputs


@dataclass(frozen=True)
class Origin:
    """What a run was made of, which ML Metadata doesn't know."""

    config: dict[str, Any]  # as `config.to_dict` gives it
    data_dir: str  # relative to the root where it lies below it
    synthetic: bool
    made_with: dict[str, str] = field(default_factory=dict)  # of a compiled file: `made_with.here`


@dataclass(frozen=True)
class Run:
    """A finished run; all paths are absolute here."""

    config: dict[str, Any]
    data_dir: str
    synthetic: bool
    seconds: float
    executed: list[str]  # ids of the nodes that really ran
    cached: list[str]
    artifacts: dict[str, dict[str, str]]  # node id -> output key -> folder
    pushed: str  # folder of the pushed version; empty if the gate said no
    log: str
    edge: str = ""  # folder of the pushed edge bundle; empty if there is none

    @classmethod
    def of(cls, origin: Origin, found: "Outputs", root: Path, seconds: float, log: Path) -> "Run":
        """A run that has just finished.

        Args:
            origin: what it was made of.
            found: what its nodes did; with paths relative to the root.
            root: the run's folder, absolute.
            seconds: it took.
            log: the file, or the folder of files, that has what the nodes logged.
        """
        return cls(
            config=origin.config,
            data_dir=str(root / origin.data_dir),
            synthetic=origin.synthetic,
            seconds=round(seconds, 1),
            executed=found.executed,
            cached=found.cached,
            artifacts={
                node: {key: str(root / uri) for key, uri in outputs.items()}
                for node, outputs in found.artifacts.items()
            },
            pushed=found.pushed and str(root / found.pushed),
            log=str(log),
            edge=found.edge and str(root / found.edge),
        )

    @classmethod
    def read(cls, root: Path) -> "Run":
        """The last finished run below `root`, wherever that lay when it ran.

        Raises:
            CxrflowError: there is none, or its record can't be read.
        """
        path = root / "run.json"
        if not path.is_file():
            makes = command_line("run", "--root", root)
            raise CxrflowError(f"no finished run in {root}: `{makes}` makes one")
        try:
            run = cls(**json.loads(path.read_text(encoding="utf-8")))
            return run._with_paths(lambda text: text and str(root.resolve() / text))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CxrflowError(f"{path} can't be read ({error}): run the pipeline again") from error

    @property
    def trainers(self) -> list[str]:
        """Ids of the nodes that train, one a model."""
        return sorted(node for node in self.artifacts if node.startswith("Trainer."))

    @property
    def candidate(self) -> str:
        """Folder of the model that the last gate judged."""
        node = "Ensemble" if "Ensemble" in self.artifacts else self.trainers[0]
        return self.artifacts[node]["model"]

    @property
    def model(self) -> Path:
        """Folder of the model that was pushed, or would have been."""
        return Path(self.pushed or self.candidate)

    def write(self, root: Path) -> None:
        """Writes `<root>/run.json`, whole or not at all, with paths relative to the root."""
        path = root / "run.json"
        relative = self._with_paths(lambda text: path_below(text, root.resolve()))
        # Two nodes that end at the same time may both find the run finished.
        write_whole(path, json.dumps(relative.__dict__, indent=1), ending=f".{os.getpid()}.part")

    def _with_paths(self, changed: Callable[[str], str]) -> "Run":
        return replace(
            self,
            data_dir=changed(self.data_dir),
            artifacts={
                node: {key: changed(folder) for key, folder in outputs.items()}
                for node, outputs in self.artifacts.items()
            },
            pushed=changed(self.pushed),
            log=changed(self.log),
            edge=changed(self.edge),
        )


def path_below(path: str, root: Path) -> str:
    """`path` relative to `root` where it lies below it, else as it is; "" stays empty."""
    inside = path and Path(path).is_relative_to(root)
    return str(Path(path).relative_to(root)) if inside else path
