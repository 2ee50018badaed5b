"""Puts a model into a serving folder, or an edge bundle into its own, whole or not at all."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cxrflow.components.publish.settings import PublishConfig
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_folder
from cxrflow.schema.portable.writing import sync_path
from cxrflow.schema.store.manifest import (
    File,
    Manifest,
    file_paths,
    read_file,
    same_files,
    verify,
    write_manifest,
)
from cxrflow.schema.store.models_config import update_models_config
from cxrflow.schema.store.signature import private_key, sign, signature_fault
from cxrflow.schema.store.versions import (
    PUSHED,
    STABLE,
    Labels,
    clean,
    is_model_name,
    list_versions,
    locked,
    next_version,
    read_labels,
    remove,
    write_labels,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ASSETS = "assets.extra/"  # TF Serving's place for what isn't its own


def push(
    model_dir: Path,
    base_dir: Path,
    config: PublishConfig | None = None,
    notes: Mapping[str, Any] | None = None,
    card: Path | None = None,
) -> Path:
    """Copies a SavedModel to `base_dir/<version>/` and returns that folder.

    The copy is written aside on the same filesystem, synced, given a manifest of SHA-256 sums and
    renamed, so that a crash at any moment leaves either no version or a whole one. Versions are
    Unix times in seconds, and always higher than those there. A model that is the newest version
    already, with the same card, isn't copied again. Then the label moves, old versions go, and so
    does what a dead push left behind.

    Args:
        model_dir: folder with `saved_model.pb`.
        base_dir: `<serving root>/<model name>`; made if missing.
        config: which label the version gets, how many are kept, and whose key signs it.
        notes: kept in the manifest, for people; JSON values without NaN.
        card: folder of the model card, whose files go into assets.extra.

    Raises:
        CxrflowError: there is no SavedModel, the folder can't be written, its labels.json is
            damaged, or the key can't be read.
    """
    config = config or PublishConfig()
    key = private_key(Path(config.signing_key)) if config.signing_key else None
    if not (model_dir / "saved_model.pb").is_file():
        raise CxrflowError(f"There is no SavedModel in {model_dir}: nothing to push.")
    with _pushing_to(base_dir, "model"):
        labels = read_labels(base_dir)
        clean(base_dir)
        before = list_versions(base_dir)
        sources = _sources(model_dir) | (_sources(card, ASSETS) if card else {})
        version_dir = _copied(sources, base_dir, before, dict(notes or {}), key)
        if key and signature_fault(version_dir, key.public_key()):  # it was there, unsigned
            sign(version_dir, key)
        _label(base_dir, labels, before, int(version_dir.name), config.label)
        update_models_config(base_dir.parent)
        _prune(base_dir, config.keep_versions)
        return version_dir


def push_bundle(
    bundle_dir: Path, base_dir: Path, keep_versions: int, notes: Mapping[str, Any] | None = None
) -> Path:
    """Copies an edge bundle to `base_dir/<version>/` and returns that folder.

    As `push` does it, without labels.

    Args:
        bundle_dir: folder with `model.json`.
        base_dir: made if missing.
        keep_versions: how many stay; the newest whole one and the one before it do anyway.
        notes: kept in the manifest, for people; JSON values without NaN.

    Raises:
        CxrflowError: there is no bundle, or the folder can't be written.
    """
    if not (bundle_dir / "model.json").is_file():
        raise CxrflowError(f"There is no edge bundle in {bundle_dir}: nothing to push.")
    with _pushing_to(base_dir, "edge bundle"):
        clean(base_dir)
        sources = _sources(bundle_dir)
        version_dir = _copied(sources, base_dir, list_versions(base_dir), dict(notes or {}))
        _prune(base_dir, keep_versions)
        return version_dir


def published(base_dir: Path) -> str:
    """The newest version and whether it is whole, as "1795380000 whole"; empty without one.

    Part of the push node's cache key: with it, a push is due again when the folder was emptied or
    damaged, or when the settings went back to an older model's.
    """
    there = list_versions(base_dir)
    if not there:
        return ""
    return f"{there[-1]} {'damaged' if verify(base_dir / str(there[-1])) else 'whole'}"


@contextmanager
def _pushing_to(base_dir: Path, what: str) -> Iterator[None]:
    """Makes the folder, keeps other writers out, and says it where it can't be written."""
    if not is_model_name(base_dir.name) or base_dir.is_symlink():
        what_it_is = "a link" if base_dir.is_symlink() else "hidden, or no text"
        raise CxrflowError(
            f"The {what} can't be pushed to {base_dir}: it is {what_it_is}, which no server reads."
        )
    try:
        base_dir.mkdir(parents=True, exist_ok=True)
        with locked(base_dir):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CxrflowError(f"The {what} can't be pushed to {base_dir}: {reason}.") from error


def _sources(folder: Path, inside: str = "") -> dict[str, Path]:
    """The files of a folder, by the paths that their copies have below a version."""
    return {f"{inside}{path}": folder / path for path in file_paths(folder)}


def _copied(
    sources: Mapping[str, Path],
    base_dir: Path,
    there: list[int],
    notes: dict[str, Any],
    key: "Ed25519PrivateKey | None" = None,
) -> Path:
    """The folder of the version that has these files, copied unless it is the newest already."""
    if there:
        newest = base_dir / str(there[-1])
        if same_files(newest, [_summed(*item) for item in sources.items()]):
            return newest
    version = next_version(base_dir, time.time())
    target = base_dir / str(version)
    with whole_folder(target, base_dir / f"{PUSHED}{version}") as aside:
        files = _copy(sources, aside)
        write_manifest(aside, Manifest(version, tuple(files), notes))
        if key:
            sign(aside, key)
    return target


def _summed(path: str, source: Path, copy: BinaryIO | None = None) -> File:
    """The file `source` as the one that lies at `path` below a version; see `read_file`."""
    return replace(read_file(source.parent, source.name, copy), path=path)


def _copy(sources: Mapping[str, Path], target: Path) -> list[File]:
    """Copies files into an empty folder, every byte on disk at the end; sums are of those read."""
    files = []
    for path, source in sources.items():
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(copy, "wb") as writer:
            files.append(_summed(path, source, writer))
        os.chmod(copy, copy.stat().st_mode | source.stat().st_mode & 0o111)  # scripts
        sync_path(os.fspath(copy))
    for folder, _, _ in os.walk(target):
        sync_path(folder)
    return files


def _label(base_dir: Path, labels: Labels, before: list[int], version: int, label: str) -> None:
    """Gives the pushed version its label; without labels.json the newest is stable anyway."""
    if label == STABLE:
        if STABLE not in labels.labels or labels.pinned is not None:
            return
        moved = replace(labels, previous=labels.labels[STABLE])
    else:
        stable = labels.stable(before)
        # The first version ever is stable too, since something has to be.
        moved = replace(
            labels, labels={**labels.labels, STABLE: version if stable is None else stable}
        )
    moved = replace(moved, labels={**moved.labels, label: version})
    if moved.labels != labels.labels:
        write_labels(base_dir, moved)


def _prune(base_dir: Path, keep: int) -> None:
    """Removes all but the newest versions and those that are served or to fall back to."""
    there = list_versions(base_dir)
    labels = read_labels(base_dir)
    whole = [version for version in there if not verify(base_dir / str(version))]
    needed = {*there[-keep:], *whole[-1:], *labels.labels.values(), labels.pinned}
    needed |= {labels.stable(there), labels.before(whole)}
    for version in there:
        if version not in needed:
            remove(base_dir, version)
