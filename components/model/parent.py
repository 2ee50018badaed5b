"""A trained model as the start of another one: its backbone's weights, for a new head."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import read_model_json
from cxrflow.schema.store.versions import (
    list_models,
    list_versions,
    parse_version,
    served_version,
    serving_root,
)

if TYPE_CHECKING:
    import keras
    import numpy as np

_LEAST = 0.5  # share of the backbone's weights that must be the parent's: else it is none


def find_parent(given: str) -> Path:
    """The SavedModel that `train.start_from` means.

    Args:
        given: its folder, a model's folder (of versions: the one that is served), or a run's.

    Raises:
        CxrflowError: there is none.
    """
    folder = Path(given).expanduser()
    if not (folder / "saved_model.pb").is_file() and not list_versions(folder):
        models = list_models(serving_root(folder))
        if len(models) > 1:
            raise CxrflowError(
                f"train.start_from: {folder} has the models {', '.join(models)}: name one's folder"
            )
        folder = serving_root(folder) / models[0] if models else folder
    if list_versions(folder):
        folder = folder / str(served_version(folder))
    if not (folder / "saved_model.pb").is_file():
        raise CxrflowError(
            f"train.start_from: {given} has no pushed model: give a run's folder, a model's, or a "
            "SavedModel's"
        )
    return folder


def load_parent(backbone: "keras.Model", folder: Path) -> str:
    """Gives a backbone the weights of a SavedModel's layers of the same names and shapes.

    Args:
        backbone: whose other layers stay as they are.
        folder: of `find_parent`.

    Returns:
        What matched and what didn't, in words.

    Raises:
        CxrflowError: it can't be read, has no or several networks of this backbone, or less than
            half of the backbone's weights.
    """
    name = _name(folder)
    stored, twice = _variables(folder)
    wanted = [layer for layer in backbone.layers if layer.weights]
    if repeated := [layer.name for layer in wanted if any(w.path in twice for w in layer.weights)]:
        raise CxrflowError(
            f"train.start_from: {name} has {repeated[0]} more than once, as it holds several "
            "networks of this backbone: give the SavedModel of one member "
            "(RUN/artifacts/Trainer.NAME/model/N/Format-Serving); a member that was cross-fitted "
            "is several networks itself, unless it is a probe: train one with cross_fit=0"
        )
    matched, others = [], []
    for layer in wanted:
        values = [stored.get(weight.path) for weight in layer.weights]
        shapes = [None if value is None else tuple(value.shape) for value in values]
        if shapes == [tuple(weight.shape) for weight in layer.weights]:
            layer.set_weights(values)
            matched.append(layer)
        else:
            others.append(layer.name)
    total, found = backbone.count_params(), sum(layer.count_params() for layer in matched)
    if found < _LEAST * total:
        raise CxrflowError(
            f"train.start_from: {name} has {found:,} of the {total:,} weights of this backbone: "
            f"it is of another one{_backbones(folder)}"
        )
    left = f"; not in it, or of another shape: {', '.join(others)}" if others else ""
    return (
        f"{len(matched)} of {len(wanted)} backbone layers ({found:,} of {total:,} weights) are "
        f"those of {name}{left}; the head is new"
    )


def _name(folder: Path) -> str:
    """What a parent is called: model and version, or where a Trainer left it; and its digest."""
    digest = hashlib.sha256((folder / "saved_model.pb").read_bytes()).hexdigest()[:12]
    known = parse_version(folder.name) is not None
    name = f"{folder.parent.name} {folder.name}" if known else str(folder)
    return f"{name} (saved_model.pb {digest})"


def _variables(folder: Path) -> tuple[dict[str, "np.ndarray"], set[str]]:
    """A SavedModel's variables by name, and the names that several have."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
        variables = loaded.signatures["pixels"].variables
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise CxrflowError(f"train.start_from: {folder} can't be read: {first}") from None
    names = [variable.name.partition(":")[0] for variable in variables]
    counts = Counter(names)
    values = {name: v.numpy() for name, v in zip(names, variables, strict=True)}
    return values, {name for name, count in counts.items() if count > 1}


def _backbones(folder: Path) -> str:
    """Which backbones a model says that it has, for a message."""
    try:
        names = [member.backbone for member in read_model_json(folder).members if member.backbone]
    except CxrflowError:
        return ""
    return f", {', '.join(dict.fromkeys(names))}" if names else ""
