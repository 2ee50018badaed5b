"""ImageNet weights of a backbone: from a file, a folder or Keras's own download."""

import hashlib
import json
import logging
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cxrflow.components.model.backbones import (
    BACKBONES,
    build_backbone,
    cut_backbone,
    find_backbone,
)
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.errors import CxrflowError

if TYPE_CHECKING:
    import h5py
    import keras
    import numpy as np

logger = logging.getLogger(__name__)

_CUT = re.compile(r"_cut_(.+?)(\.weights)?\.h5$")  # a file of the layers up to the one it names
_DOWNLOAD_TIMEOUT_S = 30  # without one, a network that swallows packets hangs for ever


def backbone_with_weights(
    name: str,
    image_size: int,
    alpha: float,
    weights: str,
    weights_dir: str,
    color: Literal["rgb", "gray"] = "rgb",
    cut_at: str = "",
) -> "keras.Model":
    """build_backbone with its weights in place, cut at a layer.

    weights: "imagenet" or "none"; weights_dir: h5 file, or folder with Keras's file names, or ""
    for Keras's download; cut_at: see `cut_backbone`. Raises CxrflowError if the weights can't be
    had or don't fit.
    """
    if weights == "none":
        return cut_backbone(build_backbone(name, image_size, alpha, color=color), cut_at, name)
    if weights_dir:
        path = weights_path(name, alpha, weights_dir)
        model = build_backbone(name, image_size, alpha, color=color)
        cut = cut_backbone(model, cut_at, name)
        if held := _CUT.search(path.name):
            _load_up_to(model, path, held[1], cut_at, name)
        else:
            load_weights_file(model, path, cut if cut_at else None)
        return cut
    _file_name(name, alpha)  # raises where no weights exist
    if not find_backbone(name).download:
        raise CxrflowError(
            f"Keras has no ImageNet weights of {name} to download; give a folder or file with "
            "them: --set train.weights_dir=DIR, or do without: --set train.weights=none"
        )
    default_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        model = build_backbone(name, image_size, alpha, weights="imagenet", color=color)
    except Exception as error:  # keras raises a bare Exception when a download fails
        raise CxrflowError(
            f"ImageNet weights of {name} could not be downloaded ({error}); give a folder or file "
            "with them: --set train.weights_dir=DIR, or do without: --set train.weights=none"
        ) from error
    finally:
        socket.setdefaulttimeout(default_timeout)
    return cut_backbone(model, cut_at, name)


def weights_path(name: str, alpha: float, weights_dir: str) -> Path:
    """The weights file that `weights_dir`, a file or a folder, means; "~" is the user's home.

    Raises CxrflowError if there is none.
    """
    given = Path(weights_dir).expanduser()
    path = given if given.is_file() else given / _file_name(name, alpha)
    if not path.is_file() and given.is_dir():
        path = next(iter(_cut_files(name, alpha, given)), path)
    if not path.is_file():
        raise CxrflowError(f"train.weights_dir: {path} is missing; give the folder that holds it")
    return path


def _cut_files(name: str, alpha: float, folder: Path) -> list[Path]:
    """Files of a backbone's first layers: NAME_…_cut_LAYER….h5, with the width if it has several.

    Underscores in NAME don't count; a file is of the backbone with the longest name that fits.
    """
    width = find_backbone(name).alphas.get(alpha, "")
    found = []
    for path in sorted(folder.glob("*_cut_*.h5")):
        start = path.name.lower().partition("_cut_")[0]
        plain = start.replace("_", "")
        fitting = [other for other in BACKBONES if plain.startswith(other.lower())]
        of_width = not width or f"_{width}_" in f"{start}_"
        if max(fitting, key=len, default="") == name and of_width:
            found.append(path)
    return found


def weights_fingerprint(recipe: TrainConfig) -> str:
    """Hash of path, size and time of the weights file that a recipe names, a missing one too.

    What Keras downloads isn't in it.
    """
    found: tuple[str, list[int] | None] | None = None
    if recipe.start_from:
        manifest = Path(recipe.start_from) / "saved_model.pb"
        found = recipe.start_from, _state(manifest) if manifest.is_file() else None
    elif recipe.weights != "none" and recipe.weights_dir:
        try:
            path = weights_path(recipe.backbone, recipe.alpha, recipe.weights_dir)
            found = str(path), _state(path)
        except CxrflowError as error:
            found = str(error), None
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def _state(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def load_weights_file(model: "keras.Model", path: Path, cut: "keras.Model | None" = None) -> None:
    """Loads keras.applications weights (legacy h5, by order).

    cut: the part of the model that is needed: a file with less than the whole model will do where
    it has this part's layers, by name. Raises CxrflowError naming a layer's misfit.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            # A whole model's file has its weights in a group.
            group = file.get("model_weights", file)
            stored = {
                layer: [group[layer][weight][()] for weight in weights]
                for layer in _texts(group, "layer_names")
                if (weights := _texts(group[layer], "weight_names"))
            }
    except (OSError, KeyError) as error:
        raise CxrflowError(
            f"{path} is no h5 weights file of keras.applications ({error}); "
            "give one, or a folder that holds it, as train.weights_dir"
        ) from error
    wanted = [layer for layer in model.layers if layer.weights]
    if cut is not None and len(stored) < len(wanted):
        _load_by_name(cut, path, stored)
        return
    found = [*stored.items()]
    for i in range(max(len(stored), len(wanted))):
        of_file, arrays = found[i] if i < len(found) else ("(nothing)", [])
        want = wanted[i] if i < len(wanted) else None
        _require_fit(path, want, of_file, [x.shape for x in arrays])
    model.load_weights(path)


def _load_by_name(cut: "keras.Model", path: Path, stored: dict[str, list["np.ndarray"]]) -> None:
    wanted = [layer for layer in cut.layers if layer.weights]
    for layer in wanted:
        arrays = stored.get(layer.name, [])
        _require_fit(path, layer, layer.name if arrays else "(nothing)", [x.shape for x in arrays])
    for layer in wanted:
        layer.set_weights(stored[layer.name])
    logger.warning(
        "%s has weights of the first %d layers; the network is cut at %s",
        path,
        len(stored),
        cut.layers[-1].name,
    )


def _load_up_to(model: "keras.Model", path: Path, held: str, cut_at: str, name: str) -> None:
    """Loads a file of the layers up to `held`. Raises CxrflowError where more are needed."""
    part = cut_backbone(model, held, name)
    if cut_at not in {layer.name for layer in part.layers}:
        raise CxrflowError(
            f"{path} has weights of {name} up to layer {held} only: set train.cut_at to it or to "
            "a layer before it"
        )
    try:
        part.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise CxrflowError(
            f"{path} does not fit the layers of {name} up to {held} ({first}); give another file "
            "as train.weights_dir"
        ) from error
    logger.warning("%s has weights up to %s; the network is cut at %s", path, held, cut_at)


def _require_fit(
    path: Path, layer: "keras.Layer | None", of_file: str, shapes: list[tuple[int, ...]]
) -> None:
    name, wanted = ("(nothing)", []) if layer is None else (layer.name, layer.weights)
    want = [tuple(w.shape) for w in wanted]
    if shapes != want:
        raise CxrflowError(
            f"{path} does not fit the network: its layer {name} has weights of shape {want}, the "
            f"file has {of_file} with {shapes}; give the no-top ImageNet weights of this backbone "
            "and alpha, or cut the network before this layer (train.cut_at)"
        )


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
