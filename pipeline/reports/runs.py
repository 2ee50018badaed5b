"""The finished runs in a folder, for the terminal."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cxrflow.pipeline.record import Run
from cxrflow.pipeline.reports.summary import verdict
from cxrflow.schema.errors import CxrflowError, unreadable


@dataclass(frozen=True)
class Row:
    """One run, or why it can't be read."""

    folder: Path
    finished: datetime
    problem: str = ""
    blessed: bool = False
    mean_auc: float = math.nan  # on test
    synthetic: bool = False
    seconds: float = math.nan
    pushed: str = ""  # the version; empty without one
    models: int = 0


def find_runs(folder: Path) -> Iterator[Row]:
    """The run in `folder` itself and those in the folders right below it, newest first.

    Raises:
        CxrflowError: the folder can't be read.
    """
    if not folder.exists():
        raise CxrflowError(f"{folder} isn't there: `cxrflow run` makes it, or name another folder")
    try:
        inside = [path / "run.json" for path in [folder, *sorted(folder.iterdir())]]
        found = [(path.parent, path.stat().st_mtime) for path in inside if path.is_file()]
    except OSError as error:
        raise unreadable(folder, error) from None
    for run, finished in sorted(found, key=lambda each: -each[1]):
        yield _row(run, datetime.fromtimestamp(finished))


def _row(folder: Path, finished: datetime) -> Row:
    try:
        run = Run.read(folder)
        found = verdict(run)
    except (CxrflowError, OSError, ValueError, TypeError, KeyError) as error:
        return Row(folder, finished, problem=str(error))
    return Row(
        folder,
        finished,
        blessed=found.blessed,
        mean_auc=found.mean_auc,
        synthetic=run.synthetic,
        seconds=run.seconds,
        pushed=Path(run.pushed).name if run.pushed else "",
        models=len(run.trainers),
    )
