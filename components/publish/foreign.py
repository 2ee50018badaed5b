"""Pushes a SavedModel from elsewhere, if it can be served; imports no TensorFlow to tell."""

import re
import struct
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

from google.protobuf.message import DecodeError

from cxrflow.components.publish.push import push
from cxrflow.components.publish.settings import PublishConfig
from cxrflow.schema.bare_tensorflow import bare_tensorflow
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import MODEL_JSON, BadModelJson, parse_model_json
from cxrflow.schema.store.versions import (
    CANARY,
    STABLE,
    list_versions,
    read_labels,
    served_version,
    serving_root,
)
from cxrflow.schema.text import written

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # part of a REST path, as a label
_TAG = "serve"
_SIGNATURE, _INPUT, _OUTPUT = "serving_default", "image_bytes", "probabilities"
_WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
_HEAD, _FOOT = 12, 4  # bytes of a TFRecord before and after its data: length and checksums


def push_foreign(model: Path, root: Path, name: str, label: str) -> tuple[Path, dict[str, int]]:
    """Pushes a model that the pipeline didn't make, after `require_servable`.

    Args:
        model: folder of the SavedModel.
        root: a serving root, or a run's root.
        name: the model's among those served.
        label: stable or canary.

    Returns:
        The folder of the version, and all labels now.

    Raises:
        CxrflowError: a bad name or label, no such root, a model that can't be served, or a folder
            that can't be written.
    """
    if label not in (STABLE, CANARY):
        raise CxrflowError(f"--label {label}: name one of {STABLE}, {CANARY}")
    if not _NAME.fullmatch(name):
        raise CxrflowError(
            f"--name {name!r} is no model's: it is made of letters, digits, dots, dashes and "
            "underscores, and begins with a letter or digit"
        )
    if not root.is_dir():
        raise CxrflowError(f"--root {root} is no folder: make it, or name the one that is served")
    base = serving_root(root) / name
    if model.resolve().is_relative_to(base.resolve()):
        raise CxrflowError(f"{model} is pushed already: `cxrflow models promote` moves a label")
    stable = served_version(base)
    require_servable(model, classes_of(base / str(stable)) if stable is not None else ())
    folder = push(
        model,
        base,
        PublishConfig(label=cast("Literal['stable', 'canary']", label)),
        {"pushed_from": written(str(model))},
    )
    return folder, read_labels(base).all(list_versions(base))


def require_servable(folder: Path, served: tuple[str, ...] = ()) -> None:
    """Refuses a model that the server would reject, or that our clients can't ask.

    Args:
        folder: of the SavedModel.
        served: the classes of the version that is served now; empty without one.

    Raises:
        CxrflowError: it lacks a readable saved_model.pb, the signature serving_default of
            image_bytes and probabilities, assets.extra/model.json with its classes, or warm-up
            requests; or its classes are others than those that are served.
    """
    if not folder.is_dir():
        raise CxrflowError(f"{folder} is no folder: name that of a SavedModel")
    classes, missing = _classes(folder)
    missing = [*_signature(folder, classes), *missing, *_warm_up(folder)]
    if served and classes and classes != served:
        missing.append(
            f"its classes are {', '.join(classes)}, those of the version that is served are "
            f"{', '.join(served)}: another --name keeps both"
        )
    if missing:
        raise CxrflowError(f"{folder} can't be served: {'; '.join(missing)}")


def classes_of(version_dir: Path) -> tuple[str, ...]:
    """The classes in a version's model.json; empty if it has none."""
    return _classes(version_dir)[0]


@cache
def messages() -> SimpleNamespace:
    """Modules of TensorFlow's and TF Serving's messages; the command has no thread beside this."""
    with bare_tensorflow():
        from tensorflow.core.framework import types_pb2
        from tensorflow.core.protobuf import saved_model_pb2
        from tensorflow_serving.apis import prediction_log_pb2
    return SimpleNamespace(
        types=types_pb2, saved_model=saved_model_pb2, prediction_log=prediction_log_pb2
    )


def _signature(folder: Path, classes: tuple[str, ...]) -> list[str]:
    try:
        data = (folder / "saved_model.pb").read_bytes()
        model = messages().saved_model.SavedModel.FromString(data)
    except OSError as error:
        return [f"saved_model.pb can't be read ({error.strerror})"]
    except DecodeError:
        return ["saved_model.pb is no SavedModel"]
    graphs = [graph for graph in model.meta_graphs if _TAG in graph.meta_info_def.tags]
    if not graphs:
        return [f"saved_model.pb has no graph tagged {_TAG}"]
    if _SIGNATURE not in graphs[0].signature_def:
        return [f"it has no signature {_SIGNATURE}"]
    signature = graphs[0].signature_def[_SIGNATURE]
    found = []
    if set(signature.inputs) != {_INPUT} or not _is(signature.inputs[_INPUT], "DT_STRING", 1):
        found.append(f"{_SIGNATURE} doesn't take {_INPUT} (strings, [n]) and nothing else")
    if _OUTPUT not in signature.outputs or not _is(signature.outputs[_OUTPUT], "DT_FLOAT", 2):
        found.append(f"{_SIGNATURE} doesn't give {_OUTPUT} (float32, [n, classes])")
    elif classes and _width(signature.outputs[_OUTPUT]) not in (-1, len(classes)):
        width = _width(signature.outputs[_OUTPUT])
        found.append(f"it gives {width} {_OUTPUT}, and {MODEL_JSON} names {len(classes)} classes")
    return found


def _is(tensor: Any, dtype: str, rank: int) -> bool:
    """Whether a TensorInfo has a type and, if it is known, a rank."""
    shape = tensor.tensor_shape
    fits = shape.unknown_rank or len(shape.dim) == rank
    return tensor.dtype == messages().types.DataType.Value(dtype) and fits


def _width(tensor: Any) -> int:
    return -1 if tensor.tensor_shape.unknown_rank else tensor.tensor_shape.dim[1].size


def _classes(folder: Path) -> tuple[tuple[str, ...], list[str]]:
    """The classes, or what is wrong with them."""
    try:
        return parse_model_json((folder / MODEL_JSON).read_bytes()).classes, []
    except OSError as error:
        return (), [f"{MODEL_JSON} can't be read ({error.strerror})"]
    except BadModelJson as error:
        return (), [f"{MODEL_JSON} {error}"]


def _warm_up(folder: Path) -> list[str]:
    """What is wrong with the warm-up requests."""
    try:
        data = (folder / _WARM_UP).read_bytes()
    except OSError as error:
        return [f"{_WARM_UP} can't be read ({error.strerror}): its first answers would be slow"]
    requests = at = 0
    try:
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            record = data[at + _HEAD : at + _HEAD + length]
            at += _HEAD + length + _FOOT
            if at > len(data):
                raise ValueError("cut short")
            log = messages().prediction_log.PredictionLog.FromString(record)
            requests += log.HasField("predict_log")
    except (struct.error, ValueError, DecodeError):
        return [f"{_WARM_UP} is damaged"]
    return [] if requests else [f"{_WARM_UP} holds no request"]
