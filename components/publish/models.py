"""What an operator does with pushed versions: look at them, promote one, roll back."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cxrflow.schema.errors import CxrflowError, did_you_mean
from cxrflow.schema.store.load_record import LoadRecord, living_record
from cxrflow.schema.store.manifest import MANIFEST, read_manifest, verify
from cxrflow.schema.store.models_config import MODELS_CONFIG, update_models_config
from cxrflow.schema.store.versions import (
    CANARY,
    STABLE,
    Labels,
    is_model_name,
    list_models,
    list_versions,
    locked,
    read_labels,
    serving_root,
    write_labels,
)

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # part of a REST path


@dataclass(frozen=True)
class Version:
    """One pushed version."""

    number: int
    labels: tuple[str, ...]  # sorted
    pinned: bool
    problems: tuple[str, ...]  # why a server refuses it; none if it is whole
    server: str  # "served", "rejected: REASON" by the one that runs here, or nothing
    pushed: datetime | None  # local time; None if the manifest is gone
    mean_auc: float | None  # of the gate, on test; None if it wasn't noted
    synthetic: bool | None  # whether that figure stems from phantoms
    class_auc: dict[str, float]  # of the gate, on test; empty if they weren't noted


def find_model(root: Path, name: str = "") -> Path:
    """The folder of a model's versions below a serving root or a run's root.

    Raises:
        CxrflowError: there is no such model, or there are several and no name.
    """
    base = serving_root(root)
    models = list_models(base)
    if name and name not in models and is_model_name(name) and (base / name).is_dir():
        record = living_record(base / name)
        still = f"; the server still has version {record.labels.get(STABLE)}" if record else ""
        raise CxrflowError(f"the versions of {name} in {base} are gone{still}: push one")
    if not models or name not in ("", *models):
        raise CxrflowError(
            f"there is no model{f' {name}' if name else ''} in {base}, only {', '.join(models)}"
            if models
            else f"there is no model in {base}: `cxrflow run` pushes one, if it is blessed"
        )
    if not name and len(models) > 1:
        raise CxrflowError(f"{base} has several models: give --name, one of {', '.join(models)}")
    return base / (name or models[0])


def versions_of(model_dir: Path) -> list[Version]:
    """All versions, newest first; reads every byte to tell whether they are whole."""
    numbers = list_versions(model_dir)
    labels = read_labels(model_dir)
    given, record = labels.all(numbers), living_record(model_dir)
    return [
        _version(
            model_dir / str(number),
            tuple(sorted(label for label, of in given.items() if of == number)),
            number == labels.pinned,
            record,
        )
        for number in reversed(numbers)
    ]


def promote(
    model_dir: Path,
    version: int | None = None,
    label: str = STABLE,
    pin: bool = False,
    new_label: bool = False,
    force: bool = False,
) -> tuple[int | None, int]:
    """Gives a label to a version; pushes move `stable` on again unless `pin` holds it.

    Args:
        model_dir: `<serving root>/<model name>`.
        version: default: the one labelled canary.
        label: stable, canary or a name of one's own.
        pin: keep stable there, whatever is pushed. Without it, promoting stable unpins.
        new_label: `label` may be one that no version has had.
        force: also a version that the running server rejected.

    Returns:
        The version that had the label, if any, and the one that has it now.

    Raises:
        CxrflowError: the version isn't there, is damaged or rejected, there is no canary, the
            label is no label or, without `new_label`, a new one.
    """
    if pin and label != STABLE:
        raise CxrflowError(f"--pin holds {STABLE}, not {label}: leave one of them out")
    with locked(model_dir):
        there, labels = list_versions(model_dir), _labels_or_none(model_dir)
        _require_known(label, {STABLE, CANARY, *labels.labels}, new_label)
        if version is None:
            version = labels.labels.get(CANARY)
            if version is None or label == CANARY:
                raise CxrflowError(f"no version is labelled {CANARY}: give --version N")
        _require_servable(model_dir, version, force)
        if label == STABLE:
            before = labels.stable(there)
            moved = Labels(
                {**labels.labels, STABLE: version},
                pinned=version if pin else None,
                previous=labels.previous if before == version else before,
            )
        else:
            before = labels.labels.get(label)
            stable = labels.stable(there)
            assert stable is not None  # there is a version
            moved = replace(labels, labels={**labels.labels, STABLE: stable, label: version})
        _write(model_dir, moved)
    return before, version


def rollback(model_dir: Path, version: int | None = None, force: bool = False) -> tuple[int, int]:
    """Makes the version before stable, and pins it, so that the next push doesn't undo that.

    A canary label that would stay on the version left behind goes with it.

    Args:
        model_dir: `<serving root>/<model name>`.
        version: default: what was stable before, or else the next lower whole version; not one
            that the running server rejected.
        force: also a version that the running server rejected.

    Returns:
        The version that was stable, and the one that is now.

    Raises:
        CxrflowError: there is none to go back to, or it is damaged or rejected.
    """
    with locked(model_dir):
        there, labels = list_versions(model_dir), read_labels(model_dir)
        stable = labels.stable(there)
        assert stable is not None  # there is a version
        if version is None:
            whole = [n for n in there if not verify(model_dir / str(n))]
            whole = [n for n in whole if not _rejection(model_dir, n)]
            version = labels.before([*whole, stable])
            if version is None:
                raise CxrflowError(
                    f"there is no whole version before {stable} in {model_dir}: give --version N, "
                    "or run the pipeline again"
                )
        _require_servable(model_dir, version, force)
        kept = {name: of for name, of in labels.labels.items() if of != stable}
        _write(model_dir, Labels({**kept, STABLE: version}, pinned=version))
    return stable, version


def _write(model_dir: Path, labels: Labels) -> None:
    write_labels(model_dir, labels)
    try:
        update_models_config(model_dir.parent)
    except OSError as error:
        raise CxrflowError(
            f"the labels are moved, but TF Serving isn't told: {model_dir.parent / MODELS_CONFIG} "
            f"can't be written ({error.strerror}); give the same command again once it can"
        ) from None


def _labels_or_none(model_dir: Path) -> Labels:
    """Labels; none where the file is damaged, as promoting writes it anew."""
    try:
        return read_labels(model_dir)
    except CxrflowError:
        return Labels()


def _require_known(label: str, known: set[str], new_label: bool) -> None:
    """So that a typo makes no label, and a label no path that a server can't read."""
    if label in known:
        return
    if not _LABEL.fullmatch(label):
        raise CxrflowError(
            f"{label!r} is no label: it is made of letters, digits, dots, dashes and underscores"
        )
    if not new_label:
        raise CxrflowError(
            f"there is no label {label} yet, only {', '.join(sorted(known))}"
            f"{did_you_mean(label, known)}; --new-label makes it"
        )


def _require_servable(model_dir: Path, version: int, force: bool) -> None:
    there = list_versions(model_dir)
    if version not in there:
        listed = ", ".join(map(str, there))
        raise CxrflowError(f"there is no version {version} in {model_dir}, only {listed}")
    if problems := verify(model_dir / str(version)):
        raise CxrflowError(
            f"version {version} is damaged ({problems[0]}): a server refuses it; take another"
        )
    if not force and (reason := _rejection(model_dir, version)):
        raise CxrflowError(
            f"the running server rejected version {version}: {reason}; take another, or move the "
            "label anyway with --force"
        )


def _rejection(model_dir: Path, version: int) -> str:
    record = living_record(model_dir)
    return record.rejection(model_dir / str(version)) if record else ""


def _on_server(record: LoadRecord | None, folder: Path) -> str:
    """What the running server made of a version, in a word or with its reason."""
    if record is None:
        return ""
    if int(folder.name) in record.labels.values():
        return "served"
    reason = record.rejection(folder)
    return f"rejected: {reason}" if reason else ""


def _version(
    folder: Path, labels: tuple[str, ...], pinned: bool, record: LoadRecord | None
) -> Version:
    problems = tuple(verify(folder))
    try:
        pushed = datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime)
        notes = read_manifest(folder).notes
    except (OSError, ValueError, TypeError, KeyError):
        pushed, notes = None, {}
    return Version(
        int(folder.name),
        labels,
        pinned,
        problems,
        _on_server(record, folder),
        pushed,
        notes.get("mean_auc"),
        notes.get("synthetic"),
        notes.get("class_auc", {}),
    )
