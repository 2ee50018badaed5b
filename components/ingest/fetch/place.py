"""The folder beside a data folder in which that grows, and how it takes its place."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from cxrflow.components.ingest.check import CheckReport, check_folder
from cxrflow.components.ingest.data_card import DataCard, Table, hash_of
from cxrflow.components.ingest.folder import find_folder
from cxrflow.components.ingest.plan import Settings
from cxrflow.schema.commands import command_line
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import held
from cxrflow.schema.paths import require_mounted, require_plain, require_replaceable
from cxrflow.schema.portable.writing import sync_path

# Entered around a step of a command, with words for it; draws its progress, for example.
Step = Callable[[str], AbstractContextManager[None]]
_LOCK = ".lock"


def silent(_: str) -> AbstractContextManager[None]:
    """A step that nobody watches."""
    return nullcontext()


def require_new(to: str | Path) -> Path:
    """`to` as an absolute path, if there is nothing, or an empty folder.

    Raises:
        CxrflowError: there is something, it is a mounted volume, or its name can't be carried in
            messages.
    """
    require_mounted(to, "--to")
    to = Path(os.path.realpath(to))
    require_plain(to, "--to")
    require_replaceable(to, "--to")
    if os.path.lexists(to) and (not to.is_dir() or any(to.iterdir())):
        check = command_line("data", "check", to)
        aside = _aside(to)
        left = f"; {aside} is left of a download and can be removed" if aside.exists() else ""
        raise CxrflowError(f"{to} is not empty; `{check}` tells what it holds{left}")
    return to


def _aside(to: Path) -> Path:
    return to.with_name(f"{to.name}.download")


@contextmanager
def workplace(to: Path) -> Iterator[Path]:
    """The folder `<to>.download`, for one process alone; it goes if nothing is left in it.

    Raises:
        CxrflowError: another process works in it; says which.
        OSError: it can't be made.
    """
    aside = _aside(to)
    aside.mkdir(parents=True, exist_ok=True)
    advice = "wait for it or name another --to"
    with held(aside / _LOCK, f"another download writes to {to}", advice):
        try:
            yield aside
        finally:
            with suppress(OSError):
                if [entry.name for entry in aside.iterdir()] == [_LOCK]:
                    (aside / _LOCK).unlink()
                    aside.rmdir()


def counted(table: Path, report: CheckReport) -> Table:
    """A data folder's table as its card names it, with what the check found."""
    return Table(
        table.name,
        hash_of(table),
        report.rows,
        sum(report.images.values()),
        sum(report.patients.values()),
    )


def put_in_place(
    unpacked: Path, to: Path, card: DataCard, settings: Settings
) -> CheckReport | None:
    """Checks a folder of verified files and makes it the data folder, with its card.

    Returns:
        What the check found; None where that is no data folder: still it's what was published.
    """
    report = None
    with suppress(CxrflowError):
        report = check_folder(str(unpacked), settings, whole=False)
        card = card.with_table(counted(find_folder(unpacked).table, report))
    card.write(unpacked)
    os.sync()  # hundred thousand files at once
    unpacked.rename(to)
    sync_path(str(to.parent))
    return replace(report, folder=str(to)) if report else None
