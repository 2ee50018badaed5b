"""The Open Inference Protocol v2 over REST, beside TF Serving's API.

https://github.com/kserve/open-inference-protocol: health, metadata, infer. Images are BYTES;
JSON carries them as base64 with the parameter `"content_type": "base64"`, as MLServer does.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import model_pb2

from cxrflow.serving import rest_json
from cxrflow.serving.status import invalid
from cxrflow.serving.tensors import shape_of

PLATFORM = "tensorflow_savedmodel"
_DATATYPES = {
    tf.string: "BYTES",
    tf.float32: "FP32",
    tf.float64: "FP64",
    tf.int64: "INT64",
    tf.int32: "INT32",
    tf.bool: "BOOL",
}
_TYPES = {name: dtype for dtype, name in _DATATYPES.items()}


def model_metadata(
    name: str, versions: list[int], definition: meta_graph_pb2.SignatureDef
) -> dict[str, Any]:
    """What a model takes and gives."""
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [_described(*each) for each in sorted(definition.inputs.items())],
        "outputs": [_described(*each) for each in sorted(definition.outputs.items())],
    }


def parse_infer(
    asked: dict[str, Any], definition: meta_graph_pb2.SignatureDef
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The inputs of an infer request, and the outputs it wants; none: all.

    Raises:
        StatusError: INVALID_ARGUMENT, anything that the protocol or the signature doesn't allow.
    """
    inputs = asked.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise invalid("'inputs' must be a list of tensors")
    found = {}
    for tensor in inputs:
        name = tensor.get("name")
        if not isinstance(name, str) or name not in definition.inputs or name in found:
            known = ", ".join(sorted(definition.inputs))
            raise invalid(f"inputs must be, once each: {known}")
        found[name] = _array(name, tensor, definition.inputs[name])
    wanted = asked.get("outputs") or []
    if not isinstance(wanted, list) or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in wanted
    ):
        raise invalid("'outputs' must be a list of objects with a name")
    return found, [each["name"] for each in wanted]


def infer_response(
    spec: model_pb2.ModelSpec, request_id: Any, outputs: dict[str, np.ndarray]
) -> dict[str, Any]:
    """The body that answers an infer request."""
    response: dict[str, Any] = {
        "model_name": spec.name,
        "model_version": str(spec.version.value),
        "outputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": _DATATYPES[tf.as_dtype(array.dtype)],
                "data": [
                    one.decode(errors="replace") if isinstance(one, bytes) else one
                    for one in array.ravel().tolist()
                ],
            }
            for name, array in outputs.items()
        ],
    }
    if isinstance(request_id, str):
        response["id"] = request_id
    return response


def _described(name: str, info: Message) -> dict[str, Any]:
    datatype = _DATATYPES.get(tf.as_dtype(info.dtype), tf.as_dtype(info.dtype).name)
    shape = [-1 if size is None else size for size in shape_of(info)]
    return {"name": name, "datatype": datatype, "shape": shape}


def _array(name: str, tensor: dict[str, Any], info: meta_graph_pb2.TensorInfo) -> np.ndarray:
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    dtype = _TYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None or dtype != tf.as_dtype(info.dtype):
        raise invalid(f"{name} must have the datatype {_described(name, info)['datatype']}")
    if not isinstance(shape, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**31 for size in shape
    ):
        raise invalid(f"{name}: shape must be a list of whole numbers")
    values = _flat(tensor.get("data"))
    parameters = tensor.get("parameters")
    base64 = isinstance(parameters, dict) and parameters.get("content_type") == "base64"
    try:
        if dtype == tf.string:
            given = [_as_bytes(value, base64) for value in values]
            array = np.empty(len(given), object)
            array[:] = given
        else:
            array = np.asarray(values)
            if array.dtype.kind not in ("b" if dtype == tf.bool else "iuf"):
                raise ValueError
            array = array.astype(dtype.as_numpy_dtype)
        return array.reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise invalid(f"{name}: data are not {shape} values of {datatype}") from None


def _as_bytes(value: Any, base64: bool) -> bytes:
    if not isinstance(value, str):
        raise ValueError
    return rest_json.decode_base64(value) if base64 else value.encode()


def _flat(data: Any) -> list[Any]:
    """Row-major values: the protocol allows nested lists too."""
    if not isinstance(data, list):
        raise invalid("each input needs a list 'data'")
    while any(isinstance(each, list) for each in data):
        if not all(isinstance(each, list) for each in data):
            raise invalid("'data' mixes lists and values")
        data = [one for each in data for one in each]
    return list(data)
