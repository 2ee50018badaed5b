"""Fetches the data set from Kaggle with Kaggle's own client, whole or not at all."""

import contextlib
import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrflow.components.ingest.check import CheckReport, check_folder
from cxrflow.components.ingest.data_card import Archive, DataCard
from cxrflow.components.ingest.fetch.bounds import ADVICE, Damaged, Unsafe
from cxrflow.components.ingest.fetch.part import Part, Remote
from cxrflow.components.ingest.fetch.place import Step, put_in_place, require_new, silent, workplace
from cxrflow.components.ingest.fetch.transfer import Download, Refused
from cxrflow.components.ingest.fetch.unzip import bytes_in, unzip
from cxrflow.components.ingest.plan import Settings
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.space import require_space


@dataclass(frozen=True)
class Source:
    """A data set on Kaggle."""

    name: str  # owner/data set
    gigabytes: float  # of its archive, for where the server doesn't tell
    page: str


SOURCES = {
    "sample": Source(  # 5,606 images
        "nih-chest-xrays/sample", 4.3, "https://www.kaggle.com/datasets/nih-chest-xrays/sample"
    ),
    "full": Source(  # 112,120 images
        "nih-chest-xrays/data", 45.1, "https://www.kaggle.com/datasets/nih-chest-xrays/data"
    ),
}

_UNPACKED = 1.05  # to packed bytes: PNGs hardly shrink, and the file system takes its share
_TRIES = 2  # of an archive that turns out to be damaged
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
_AGAIN = "Run the command again to go on from there"


def download(
    dataset: Literal["sample", "full"], to: str | Path, settings: Settings, step: Step = silent
) -> CheckReport:
    """Fetches, verifies and unpacks a data set into `to`, then checks it and writes its data card.

    Archive and files grow in `<to>.download` and take their place when all is verified; run again,
    an interrupted download goes on where it stopped, if its sidecar proves that what is there
    belongs to what Kaggle has now. Unpacking verifies each file's checksum, so the check at the end
    reads headers only.

    Args:
        dataset: sample (5,606 images) or full (112,120).
        to: the data folder; must not exist, or be empty.
        settings: as for `check_folder`.
        step: is entered around each step, with words for it.

    Raises:
        CxrflowError: `to` is in use, a mounted volume or can't be written, another process fetches
            into it, the disk is too full, no or refused credentials, no connection, or a damaged
            archive.
    """
    to = require_new(to)
    try:
        return _download(SOURCES[dataset], to, settings, step)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise CxrflowError(
            f"cannot write to {to}: {error.strerror or error}{place}; {ADVICE}. {_AGAIN}"
        ) from None


def _download(source: Source, to: Path, settings: Settings, step: Step) -> CheckReport:
    api = _client()
    with workplace(to) as aside:
        require_new(to)  # it may have been another process's until now
        unpacked = aside / "unpacked"
        remote, archive = _verified(api, source, aside, unpacked, step)
        version = ", ".join(filter(None, (remote.etag, remote.last_modified)))
        card = DataCard.today(f"Kaggle, {source.name}", source.page, version)
        with step("checking"):
            report = put_in_place(unpacked, to, card.with_archive(archive), settings)
        shutil.rmtree(aside)
    return report or check_folder(str(to), settings)  # which says what is wrong


def _verified(
    api: Any, source: Source, aside: Path, unpacked: Path, step: Step
) -> tuple[Remote, Archive]:
    """Fetches the archive and unpacks it; once more if it turns out to be damaged."""
    path = aside / f"{source.name.split('/')[1]}.zip"
    seen: set[str] = set()
    while True:
        with Part(path) as part:
            try:
                with step("fetching"):
                    _fetch(api, source, part, unpacked)
                with step("unpacking"):
                    out = unzip(path, unpacked)
            except Unsafe as error:
                shutil.rmtree(aside)
                raise CxrflowError(f"{error}: what Kaggle sent was deleted") from None
            except Damaged as error:
                part.discard()
                if len(seen) + 1 < _TRIES:
                    seen.add(part.sha256)
                    continue
                shutil.rmtree(aside)
                same = "twice the same" if part.sha256 in seen else "twice, not the same bytes"
                raise CxrflowError(
                    f"what Kaggle sent was damaged ({same}: {error}) and was deleted; try again "
                    "later, or take NIH's own archives (--from)"
                ) from None
            assert part.remote
            verified = "checksum of every file" + ("; the server's MD5" if part.remote.md5 else "")
            return part.remote, Archive(
                path.name, part.size, part.sha256, part.md5, out.files, out.images, verified
            )


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


def _fetch(api: Any, source: Source, part: Part, unpacked: Path) -> None:
    """Fetches what is lacking of the archive, if there is room for it and its files.

    Raises:
        Damaged: it isn't what the server says of it.
        CxrflowError: it can't be had, or the disk is too full.
    """

    def allow(remote: Remote, have: int) -> None:
        size = remote.size or int(source.gigabytes * 1e9)
        # What an interrupted unpacking left counts: it is kept, or overwritten.
        needed = size - have + max(0, int(_UNPACKED * size) - bytes_in(unpacked))
        require_space(part.path.parent, needed, f"{part.path.name} and its files", ADVICE)

    def ask() -> Any:
        return _ask(api, source.name)

    try:
        Download(ask, source.name, allow).into(part)
    except (CxrflowError, OSError) as error:
        if not _is_of_network(error):
            raise
        raise _explained(error, f"cannot download {source.name}") from None
    except (Exception, SystemExit) as error:
        raise _explained(error, f"cannot download {source.name}") from None
    assert part.remote
    if part.remote.md5 and part.remote.md5 != part.md5:
        raise Damaged(f"its MD5 is {part.md5}, not {part.remote.md5} as the server says")


def _ask(api: Any, name: str) -> Any:
    """Kaggle's answer: a streamed `requests.Response` of the whole archive."""
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

    request = ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = name.split("/")
    # It prints where it finds itself outdated.
    with contextlib.redirect_stdout(io.StringIO()), api.build_kaggle_client() as kaggle:
        return kaggle.datasets.dataset_api_client.download_dataset(request)


def _is_of_network(error: BaseException) -> bool:
    import requests

    return isinstance(error, requests.RequestException)  # which are OSErrors


def _explained(error: BaseException, what: str) -> CxrflowError:
    import requests

    status = error.status if isinstance(error, Refused) else _status_of(error)
    if status == 429 and isinstance(error, Refused) and error.wait_s:
        why = f"Kaggle asks to wait for {error.wait_s / 60:.0f} minutes"
    elif status in _REFUSALS:
        why = _REFUSALS[status]
    elif status is not None:
        why = f"Kaggle answers with HTTP {status}"
    elif isinstance(error, requests.RequestException):
        why = f"the connection failed ({type(error).__name__})"
    else:
        why = " ".join(str(error).split()) or type(error).__name__
    return CxrflowError(f"{what}: {why}. {_AGAIN}")


def _status_of(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return response.status_code if response is not None else None
