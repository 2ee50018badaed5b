"""Whether a pushed version is what it says: its bytes, who signed them, its papers, its answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.schema.metadata_json import METADATA, classes_of, metadata_faults
from cxrflow.schema.model_json import MODEL_JSON, BadModelJson, ModelJson, parse_model_json
from cxrflow.schema.store.manifest import verify as manifest_faults
from cxrflow.schema.store.signature import is_signed, signature_fault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_SIDE = 512  # pixels of the X-ray that is asked about where the model takes any size
_IMAGES = 2
# What a model is held against that was pushed without metadata: see docs/architecture.md.
_BARE = {
    "signature": "serving_default",
    "inputs": {"image_bytes": {"dtype": "string"}},
}


@dataclass(frozen=True)
class Verified:
    """What was found of a version."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]  # no faults, but to be known

    @property
    def line(self) -> str:
        """All of it in one line."""
        return "; ".join([*self.faults, *self.notes])


def verify(version_dir: Path, key: "Ed25519PublicKey | None" = None) -> Verified:
    """Checks manifest, signature, model.json, metadata.json, and one answer of the model.

    A model whose bytes aren't those of the manifest, or whose signature is wrong, isn't run.

    Args:
        version_dir: `<serving root>/<model name>/<version>`.
        key: the operator's; None: a signature is told of, not checked.
    """
    faults = manifest_faults(version_dir)
    notes = []
    if key:
        fault = signature_fault(version_dir, key)
        faults += [fault] if fault else []
        notes += [] if fault else ["signed by the key"]
    elif is_signed(version_dir):
        notes.append("signed, not checked: --key names the operator's key")
    else:
        notes.append("unsigned")
    if faults:
        return Verified(tuple(faults), (*notes, "the model wasn't run"))
    info, faults = _model_json(version_dir)
    metadata, more = _metadata(version_dir, info)
    faults += more
    if metadata is None and not more:
        notes.append(f"no {METADATA}: it wasn't pushed by a run, or by an older cxrflow's")
    if info and not faults:
        faults += answer_faults(version_dir, _promises(metadata, info))
    if not faults:
        notes.insert(0, "whole, and answers as it says")
    return Verified(tuple(faults), tuple(notes))


def answer_faults(version_dir: Path, promises: list[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a model's answers; loads TensorFlow and the model.

    Args:
        version_dir: of the SavedModel.
        promises: each a `<name>_data_format` of metadata.json: signature, inputs and outputs.
    """
    import tensorflow as tf

    try:
        signatures = tf.saved_model.load(str(version_dir)).signatures
    except Exception as error:  # whatever is wrong with its graph
        return [f"it can't be loaded: {_first_line(error)}"]
    faults = []
    for promise in promises:
        name = promise["signature"]
        if name not in signatures:
            faults.append(f"it has no signature {name}")
            continue
        question = _question(promise["inputs"])
        if unfit := _question_faults(name, signatures[name], question):
            faults += unfit
            continue
        try:
            answers = signatures[name](**question)
        except Exception as error:  # whatever a graph may raise
            faults.append(f"{name} doesn't answer: {_first_line(error)}")
            continue
        faults += _answer_faults(name, answers, promise["outputs"])
    return faults


def _question(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Two X-rays, a ramp from black to white and one turned round, as a signature takes them."""
    import numpy as np
    import tensorflow as tf

    ((name, tensor),) = inputs.items()
    if tensor["dtype"] == "string":
        gray = np.linspace(0, 255, _SIDE * _SIDE).reshape(_SIDE, _SIDE, 1).astype(np.uint8)
        return {name: tf.constant([tf.io.encode_png(one).numpy() for one in (gray, gray[::-1])])}
    low, high = tensor["value_range"] or (0, 1)
    shape = [*tensor["spatial_shape"], tensor["num_channels"]]
    ramp = np.linspace(low, high, int(np.prod(shape))).reshape(shape).astype(np.float32)
    return {name: tf.constant(np.stack([ramp, ramp[::-1]]))}


def _question_faults(name: str, signature: Any, question: Mapping[str, Any]) -> list[str]:
    """What speaks against asking so: TensorFlow itself doesn't look at the shape."""
    ((asked, tensor),) = question.items()
    taken = signature.structured_input_signature[1]
    if set(taken) != {asked}:
        return [f"{name} takes {', '.join(sorted(taken))}, promised is {asked}"]
    spec = taken[asked]
    if not spec.is_compatible_with(tensor):
        return [
            f"{name} takes {asked} {spec.shape} of {spec.dtype.name}, promised are "
            f"{tensor.shape} of {tensor.dtype.name}"
        ]
    return []


def _answer_faults(
    signature: str, answers: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    import numpy as np

    faults = []
    for name, tensor in outputs.items():
        if name not in answers:
            faults.append(f"{signature} gives no {name}")
            continue
        values = answers[name].numpy()
        # One map for all classes has no axis of channels.
        channels = [tensor["num_channels"]]
        whole = [_IMAGES, *tensor["spatial_shape"], *channels]
        if list(values.shape) != whole and [*values.shape, 1] != whole:
            faults.append(f"{signature} gives {name} {list(values.shape)}, promised are {whole}")
        elif values.dtype.name != tensor["dtype"]:
            faults.append(f"{signature} gives {name} as {values.dtype.name}")
        elif not np.isfinite(values).all():
            faults.append(f"{signature} gives {name} that aren't finite")
        elif tensor["value_range"]:
            low, high = tensor["value_range"]
            if values.min() < low or values.max() > high:
                faults.append(
                    f"{signature} gives {name} from {values.min():.3g} to {values.max():.3g}, "
                    f"promised are {low:g} to {high:g}"
                )
    return faults


def _promises(metadata: dict[str, Any] | None, info: ModelJson) -> list[Mapping[str, Any]]:
    """What the model is held against: of metadata.json, or without it of model.json alone."""
    if metadata is not None:
        return [value for name, value in metadata.items() if name.endswith("_data_format")]
    probabilities = {
        "num_channels": len(info.classes),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [0, 1],
    }
    return [{**_BARE, "outputs": {"probabilities": probabilities}}]


def _model_json(version_dir: Path) -> tuple[ModelJson | None, list[str]]:
    try:
        return parse_model_json((version_dir / MODEL_JSON).read_bytes()), []
    except OSError as error:
        return None, [f"{MODEL_JSON} can't be read: {error.strerror}"]
    except BadModelJson as error:
        return None, [f"{MODEL_JSON} {error}"]


def _metadata(version_dir: Path, info: ModelJson | None) -> tuple[dict[str, Any] | None, list[str]]:
    """What metadata.json says, if it is there and right, and what is wrong with it."""
    try:
        text = (version_dir / METADATA).read_bytes()
    except FileNotFoundError:
        return None, []
    except OSError as error:
        return None, [f"{METADATA} can't be read: {error.strerror}"]
    faults = [f"{METADATA}: {fault}" for fault in metadata_faults(text)]
    if faults:
        return None, faults
    fields = json.loads(text)
    if info and classes_of(fields) != info.classes:
        return None, [f"{METADATA} has other classes than {MODEL_JSON}"]
    return fields, []


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
