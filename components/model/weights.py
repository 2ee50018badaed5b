"""ImageNet weights of a backbone: from a file, a folder or Keras's own download."""

import hashlib
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cxrflow.components.model.backbones import build_backbone, find_backbone
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.errors import CxrflowError

if TYPE_CHECKING:
    import h5py
    import keras

_DOWNLOAD_TIMEOUT_S = 30  # without one, a network that swallows packets hangs for ever


def backbone_with_weights(
    name: str,
    image_size: int,
    alpha: float,
    weights: str,
    weights_dir: str,
    color: Literal["rgb", "gray"] = "rgb",
) -> "keras.Model":
    """build_backbone with its weights in place.

    weights: "imagenet" or "none"; weights_dir: h5 file, or folder with Keras's file names, or ""
    for Keras's download. Raises CxrflowError if the weights can't be had or don't fit.
    """
    if weights == "none":
        return build_backbone(name, image_size, alpha, color=color)
    if weights_dir:
        path = weights_path(name, alpha, weights_dir)
        model = build_backbone(name, image_size, alpha, color=color)
        load_weights_file(model, path)
        return model
    _file_name(name, alpha)  # raises where no weights exist
    default_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        return build_backbone(name, image_size, alpha, weights="imagenet", color=color)
    except Exception as error:  # keras raises a bare Exception when a download fails
        raise CxrflowError(
            f"ImageNet weights of {name} could not be downloaded ({error}); give a folder or file "
            "with them: --set train.weights_dir=DIR, or do without: --set train.weights=none"
        ) from error
    finally:
        socket.setdefaulttimeout(default_timeout)


def weights_path(name: str, alpha: float, weights_dir: str) -> Path:
    """The weights file that `weights_dir`, a file or a folder, means; "~" is the user's home.

    Raises CxrflowError if there is none.
    """
    given = Path(weights_dir).expanduser()
    path = given if given.is_file() else given / _file_name(name, alpha)
    if not path.is_file():
        raise CxrflowError(f"train.weights_dir: {path} is missing; give the folder that holds it")
    return path


def weights_fingerprint(recipes: Iterable[TrainConfig]) -> str:
    """Hash of path, size and time of the weights files that the recipes name, missing ones too.

    What Keras downloads isn't in it.
    """
    files: dict[str, list[int] | None] = {}
    for recipe in recipes:
        if recipe.weights == "none" or not recipe.weights_dir:
            continue
        try:
            path = weights_path(recipe.backbone, recipe.alpha, recipe.weights_dir)
            files[str(path)] = [path.stat().st_size, path.stat().st_mtime_ns]
        except CxrflowError as error:
            files[str(error)] = None
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def load_weights_file(model: "keras.Model", path: Path) -> None:
    """Loads keras.applications weights (legacy h5). Raises CxrflowError naming a layer's misfit."""
    import h5py

    try:
        with h5py.File(path) as file:
            # A whole model's file has its weights in a group.
            group = file.get("model_weights", file)
            stored = [
                (layer, [group[layer][weight].shape for weight in weights])
                for layer in _texts(group, "layer_names")
                if (weights := _texts(group[layer], "weight_names"))
            ]
    except (OSError, KeyError) as error:
        raise CxrflowError(
            f"{path} is no h5 weights file of keras.applications ({error}); "
            "give one, or a folder that holds it, as train.weights_dir"
        ) from error
    wanted = [
        (layer.name, [tuple(w.shape) for w in layer.weights])
        for layer in model.layers
        if layer.weights
    ]
    for i in range(max(len(stored), len(wanted))):
        have = stored[i] if i < len(stored) else ("(nothing)", [])
        want = wanted[i] if i < len(wanted) else ("(nothing)", [])
        if have[1] != want[1]:
            raise CxrflowError(
                f"{path} does not fit the network: its layer {want[0]} has weights of shape "
                f"{want[1]}, the file has {have[0]} with {have[1]}; give the no-top ImageNet "
                f"weights of this backbone and alpha"
            )
    model.load_weights(path)


def _file_name(name: str, alpha: float) -> str:
    backbone = find_backbone(name)
    if backbone.alphas and alpha not in backbone.alphas:
        raise CxrflowError(
            f"train.alpha: no ImageNet weights of {name} exist for {alpha}; choose from "
            f"{', '.join(map(str, backbone.alphas))} or set train.weights=none"
        )
    return backbone.weights_file.format(alpha=backbone.alphas.get(alpha))


def _texts(group: "h5py.Group", attribute: str) -> list[str]:
    """An attribute's strings: bytes in old files, and in numbered parts where they are long."""
    if attribute in group.attrs:
        names = group.attrs[attribute]
    else:
        names, part = [*group.attrs[f"{attribute}0"]], 1
        while f"{attribute}{part}" in group.attrs:
            names += [*group.attrs[f"{attribute}{part}"]]
            part += 1
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
