"""Fetches the data set from Kaggle with Kaggle's own client, whole or not at all."""

import contextlib
import io
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrflow.components.ingest.check import CheckReport, check_folder
from cxrflow.components.ingest.plan import Settings
from cxrflow.schema.commands import command_line
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_folder
from cxrflow.schema.paths import require_plain
from cxrflow.schema.progress import report as report_progress


@dataclass(frozen=True)
class Source:
    """A data set on Kaggle."""

    name: str  # owner/data set
    gigabytes: float  # of its archive; unpacked it takes as much again, PNGs don't compress


SOURCES = {
    "sample": Source("nih-chest-xrays/sample", 4.3),  # 5,606 images
    "full": Source("nih-chest-xrays/data", 45.1),  # 112,120 images
}

_NO_CREDENTIALS = (
    "no valid Kaggle credentials: run `kaggle auth login`, or create an API token in the settings "
    "of kaggle.com and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
)
_REFUSALS = {
    401: "Kaggle refused the credentials; create a new token in Kaggle's settings",
    403: "Kaggle denies access; open the data set's page, signed in, and accept its terms",
    404: "Kaggle does not know this data set",
    429: "Kaggle asks to slow down; try again later",
}


def download(dataset: Literal["sample", "full"], to: str | Path, settings: Settings) -> CheckReport:
    """Fetches and unpacks a data set into `to`, then checks it.

    Archive and files grow in `<to>.download` and take their place when complete; run again, an
    interrupted download goes on where it stopped, as far as Kaggle's client can prove that
    the part it has is of the same version. Unpacking verifies each file's checksum, so the check at
    the end reads headers only.

    Args:
        dataset: sample (5,606 images) or full (112,120).
        to: the data folder; must not exist, or be empty.
        settings: as for `check_folder`.

    Raises:
        CxrflowError: `to` is in use or can't be written, the disk is too full, no or refused
            credentials, no connection, or a damaged archive.
    """
    to = Path(os.path.realpath(to))
    require_plain(to, "--to")
    try:
        _download(SOURCES[dataset], to)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise CxrflowError(
            f"cannot write to {to}: {error.strerror or error}{place}; make room or choose another "
            "--to. Run the command again to go on from there"
        ) from None
    return check_folder(str(to), settings, whole=False)


def _download(source: Source, to: Path) -> None:
    if os.path.lexists(to) and (not to.is_dir() or any(to.iterdir())):
        check = command_line("data", "check", to)
        raise CxrflowError(f"{to} is not empty; `{check}` tells what it holds")
    aside = to.with_name(to.name + ".download")
    archive = aside / f"{source.name.split('/')[1]}.zip"
    api = _client()
    aside.mkdir(parents=True, exist_ok=True)
    have = archive.stat().st_size if archive.exists() else 0
    _require_space(aside, 2e9 * source.gigabytes - have)
    _fetch(api, source, aside)
    with whole_folder(to, aside / "unpacked") as unpacked:
        _unpack(archive, unpacked)
    shutil.rmtree(aside)


def _client() -> Any:
    """Kaggle's client, signed in.

    Importing `kaggle` signs in, and where that fails prints a page of help or ends the process.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
        except SystemExit:
            raise CxrflowError(_NO_CREDENTIALS) from None
        except Exception as error:
            raise _explained(error, "cannot sign in to Kaggle") from None
    return api


def _fetch(api: Any, source: Source, folder: Path) -> None:
    """Downloads the archive; the client draws its own progress bar."""
    try:
        api.dataset_download_files(source.name, path=str(folder), quiet=False)
    except (Exception, SystemExit) as error:
        raise _explained(error, f"cannot download {source.name}") from None


def _explained(error: BaseException, what: str) -> CxrflowError:
    import requests

    response = getattr(error, "response", None)
    if response is not None and response.status_code in _REFUSALS:
        why = _REFUSALS[response.status_code]
    elif response is None and isinstance(error, requests.RequestException):
        why = f"the connection failed ({type(error).__name__})"
    else:
        why = " ".join(str(error).split()) or type(error).__name__
    return CxrflowError(f"{what}: {why}. Run the command again to go on from there")


def _unpack(archive: Path, to: Path) -> None:
    """Unpacks all of an archive into the new folder `to`."""
    try:
        with zipfile.ZipFile(archive) as source:
            members = source.infolist()
            for member in members:
                if Path(member.filename).is_absolute() or ".." in Path(member.filename).parts:
                    raise CxrflowError(f"{archive} wants to write to {member.filename}; delete it")
            _require_space(to.parent, sum(member.file_size for member in members))
            for done, member in enumerate(members, 1):
                source.extract(member, to)
                report_progress(done, len(members), "files")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        archive.unlink(missing_ok=True)
        raise CxrflowError(
            f"the archive that Kaggle sent is damaged ({error}) and was deleted; download it again"
        ) from None


def _require_space(folder: Path, needed: float) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CxrflowError(
            f"{needed / 1e9:.1f} GB are needed in {folder.parent}, {free / 1e9:.1f} GB are free; "
            "make room or choose another --to"
        )
