"""The frame of the report's pages: menu, styles and scripts, files that are whole or not there."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, PackageLoader, StrictUndefined

from cxrflow.pipeline.reports.dashboard.run_folder import Page
from cxrflow.schema.errors import CxrflowError

_PACKAGE = "cxrflow.pipeline.reports.dashboard"


@contextmanager
def whole_pages(to: Path) -> Iterator[Path]:
    """A folder whose files move to `to` when the block is done; if it fails, `to` stays as it was.

    Other files in `to` are left alone.
    """
    new = not to.exists()
    try:
        to.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".pages-", dir=to) as aside:
            yield Path(aside)
            for path in Path(aside).iterdir():
                if path.is_dir():
                    shutil.rmtree(to / path.name, ignore_errors=True)
                path.replace(to / path.name)
    except BaseException as error:
        if new:
            with suppress(OSError):
                to.rmdir()
        if isinstance(error, OSError):
            raise _unwritable(to, error) from None
        raise


def _unwritable(to: Path, error: OSError) -> CxrflowError:
    reason = error.strerror or error
    return CxrflowError(f"{to} can't be written: {reason}; --to names another folder")


def write_pages(pages: Sequence[Page], subject: str, synthetic: bool, folder: Path) -> None:
    """Draws pages into a folder.

    Args:
        pages: in the menu's order.
        subject: what they are about, such as "run demo".
        synthetic: the X-rays are phantoms.
        folder: to write to.
    """
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # as the model has them
    groups: dict[str, list[Page]] = {}
    for page in pages:
        if page.group:
            groups.setdefault(page.group, []).append(page)
    for page in pages:
        text = environment.get_template(page.template).render(
            groups=groups,
            file=page.file,
            title=page.title,
            subject=subject,
            synthetic=synthetic,
            **page.content,
        )
        (folder / page.file).write_text(text, encoding="utf-8")


def copy_own_scripts(to: Path) -> None:
    """Copies styles and scripts that pages need beside them."""
    for source in (files(_PACKAGE) / "static").iterdir():
        (to / source.name).write_bytes(source.read_bytes())


def write_page_alone(page: Page, subject: str, synthetic: bool, to: Path) -> Path:
    """Writes a page that is no part of a run's report, with what it needs; returns its path.

    Args:
        page: the page; subject, synthetic: as for `write_pages`.
        to: the folder, which stays as it was where this fails.

    Raises:
        CxrflowError: the folder can't be written.
    """
    with whole_pages(to) as aside:
        copy_own_scripts(aside)
        write_pages([page], subject, synthetic, aside)
    return to / page.file
