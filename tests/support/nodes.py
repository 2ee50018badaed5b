"""What nodes hand each other, made for a test: artifacts and verdicts."""

from pathlib import Path
from typing import Any


def artifact(kind: type, folder: Path) -> Any:
    """A TFX artifact of the kind at the folder."""
    made = kind()
    made.uri = str(folder)
    return made


def write_verdict_on(folder: Path, name: str, *reasons: str) -> Path:
    """Writes a verdict by eval into a new folder; the model is blessed unless there are reasons."""
    from cxrflow.components.evaluate.verdict import Verdict, write_verdict

    folder.mkdir(parents=True)
    verdict = Verdict(
        name=name,
        split="eval",
        blessed=not reasons,
        reasons=reasons,
        synthetic=True,
        classes=(),
        mean_auc=0.7,
        baseline="",
        slices={},
    )
    write_verdict(verdict, folder)
    return folder
