"""Artifacts in a bucket: nodes work on copies below the root, and this module alone moves them.

TFX names an artifact's folder by node, key and number. What ML Metadata has as
`gs://BUCKET/FOLDER/NODE/KEY/NUMBER` lies as `artifacts/NODE/KEY/NUMBER` below the root, the folder
that is worked in: where it would be without a bucket. Copies can be deleted; a node that needs one
fetches it again.
"""

import logging
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import locked, sync_folder, whole_folder
from cxrflow.schema.progress import report

ARTIFACTS = "artifacts"  # below the root
_AT_ONCE = 8  # files that are copied at the same time
_PAUSES_S = (1, 5, 25)  # before a file is tried again; TensorFlow tries some requests again, too
_REASONS = {  # by TensorFlow's error
    "PermissionDeniedError": "this machine's account has no right to it; give it the role Storage "
    "Object User on the bucket, or correct storage.artifacts",
    "UnauthenticatedError": "this machine has no Google account; set GOOGLE_APPLICATION_CREDENTIALS"
    " to a service account's key",
    "NotFoundError": "it isn't there; make the bucket, or correct storage.artifacts",
    "UnavailableError": "Google Cloud Storage can't be reached from here",
}
_FOR_GOOD = ("PermissionDeniedError", "UnauthenticatedError", "NotFoundError")


def is_remote(uri: str) -> bool:
    """Whether an artifact is in a bucket."""
    return "://" in uri


def local(uri: str) -> Path:
    """Where an artifact, or its copy, lies: relative to the root, unless it is elsewhere."""
    return Path(ARTIFACTS, *PurePosixPath(uri).parts[-3:]) if is_remote(uri) else Path(uri)


def fetch(uri: str) -> Path:
    """An artifact's folder, copied from its bucket if it isn't here.

    Raises:
        CxrflowError: the bucket doesn't have it or can't be read.
    """
    folder = local(uri)
    if not is_remote(uri) or folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Several nodes may want it at the same time.
    with locked(Path(ARTIFACTS, ".fetching"), wait=True), _one_line(uri, "read"):
        if not folder.is_dir():
            with whole_folder(folder, folder.with_name(f".{folder.name}.part")) as aside:
                _copy([(file, str(aside / name)) for file, name in _files(uri)])
                sync_folder(aside)
    return folder


def put(folder: Path, uri: str) -> None:
    """Copies what a node wrote to its artifact's place in the bucket, which ML Metadata names only
    once that has succeeded.

    What is there already goes first: numbers begin anew in a root that was deleted and made again,
    and whoever reads a folder takes all of its files.

    Raises:
        CxrflowError: the bucket can't be written to.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    fileio = _fileio()
    with _one_line(uri, "written to"):
        if fileio.isdir(uri):
            fileio.rmtree(uri)
        fileio.makedirs(uri)  # TFX clears it where copying fails, and looks for it then
        _copy([(str(file), f"{uri}/{file.relative_to(folder).as_posix()}") for file in files])


def remove_execution(artifacts: str, node: str, execution: int) -> None:
    """Removes what an execution that failed left in a bucket.

    Args:
        artifacts: the bucket's URI, with the folder.
        node: its node's id.
        execution: its number.
    """
    fileio = _fileio()
    with _one_line(artifacts, "written to"):
        for inside in ("*", ".system/*"):
            for uri in fileio.glob(f"{artifacts}/{node}/{inside}/{execution}"):
                fileio.rmtree(uri)


def require_usable(artifacts: str) -> None:
    """Writes to a bucket, if it is one, reads that and removes it.

    Raises:
        CxrflowError: it isn't there, or this machine's account has no right to one of these.
    """
    if not is_remote(artifacts):
        return
    fileio = _fileio()
    probe = f"{artifacts}/.probe-{uuid.uuid4().hex}"
    with _one_line(artifacts, "written to"), fileio.open(probe, "w") as file:
        file.write("cxrflow")
    with _one_line(artifacts, "read"), fileio.open(probe, "r") as file:
        file.read()
    with _one_line(artifacts, "cleared"):
        fileio.remove(probe)


def _files(uri: str) -> Iterator[tuple[str, str]]:
    """Files of a folder in a bucket, and their paths in it."""
    fileio = _fileio()
    if not fileio.isdir(uri):
        raise CxrflowError(
            f"{uri} isn't there any more, nor is its copy in the root: take another --root, which "
            "begins anew"
        )
    for folder, _, names in fileio.walk(uri):
        for name in names:
            file = f"{folder.rstrip('/')}/{name}"
            yield file, file.removeprefix(f"{uri}/")


def _copy(pairs: list[tuple[str, str]]) -> None:
    import tensorflow as tf

    fileio = _fileio()

    def one(pair: tuple[str, str]) -> None:
        source, target = pair
        if not is_remote(target):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        for pause in _PAUSES_S:
            try:
                return fileio.copy(source, target, overwrite=True)
            except tf.errors.OpError as error:
                if type(error).__name__ in _FOR_GOOD:
                    raise
                logging.warning("%s is copied again in %d s: %s", source, pause, error)
                time.sleep(pause)
        fileio.copy(source, target, overwrite=True)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for done, _ in enumerate(threads.map(one, pairs), 1):
            report(done, len(pairs), "files copied")


def _fileio() -> Any:
    """TFX's, by TensorFlow; imported late, since readers of a run need neither."""
    from tfx.dsl.io import fileio

    return fileio


@contextmanager
def _one_line(uri: str, verb: str) -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        known = _REASONS.get(type(error).__name__)
        reason = known or " ".join(str(error).split())[:200]
        raise CxrflowError(f"{uri} can't be {verb}: {reason}") from error
