"""ImageNet weights of a backbone: from a file, a folder or Keras's own download."""

import socket
from pathlib import Path

import h5py
import keras
import numpy as np

from components.train.backbones import build_backbone, find_backbone
from schema.errors import CxrflowError

_DOWNLOAD_TIMEOUT_S = 30  # without one, a network that swallows packets hangs for ever

# keras.applications' spelling of MobileNet's width multipliers that have ImageNet weights.
_ALPHA_IN_FILE_NAME = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}


def backbone_with_weights(
    name: str, image_size: int, alpha: float, weights: str, weights_dir: str
) -> keras.Model:
    """build_backbone with its weights in place.

    weights: "imagenet" or "none"; weights_dir: h5 file, or folder with Keras's file names, or ""
    for Keras's download. Raises CxrflowError if the weights can't be had or don't fit.
    """
    if weights == "none":
        return build_backbone(name, image_size, alpha)
    if weights_dir:
        path = _weights_path(name, alpha, Path(weights_dir).expanduser())
        model = build_backbone(name, image_size, alpha)
        load_weights_file(model, path)
        return model
    default_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        return build_backbone(name, image_size, alpha, weights="imagenet")
    except Exception as error:  # keras raises a bare Exception when a download fails
        raise CxrflowError(
            f"ImageNet weights of {name} could not be downloaded ({error}); give a folder or file "
            "with them: --set train.weights_dir=DIR, or do without: --set train.weights=none"
        ) from error
    finally:
        socket.setdefaulttimeout(default_timeout)


def _weights_path(name: str, alpha: float, given: Path) -> Path:
    if given.is_file():
        return given
    backbone = find_backbone(name)
    if backbone.has_alpha and alpha not in _ALPHA_IN_FILE_NAME:
        raise CxrflowError(
            f"train.alpha: no ImageNet weights exist for {alpha}; choose from "
            f"{', '.join(map(str, _ALPHA_IN_FILE_NAME))} or set train.weights=none"
        )
    path = given / backbone.weights_file.format(alpha=_ALPHA_IN_FILE_NAME.get(alpha))
    if not path.is_file():
        raise CxrflowError(f"train.weights_dir: {path} is missing; give the folder that holds it")
    return path


def load_weights_file(model: keras.Model, path: Path) -> None:
    """Loads keras.applications weights (legacy h5). Raises CxrflowError naming a layer's misfit."""
    try:
        with h5py.File(path) as file:
            stored = [
                (layer, [file[layer][weight].shape for weight in weights])
                for layer in _texts(file.attrs["layer_names"])
                if (weights := _texts(file[layer].attrs["weight_names"]))
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


def _texts(names: np.ndarray) -> list[str]:
    """An h5 attribute's strings, which old files hold as bytes."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
