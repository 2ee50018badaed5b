"""JSON of TF Serving's REST API, to and from NumPy arrays; bounded before it becomes objects.

As tensorflow_serving/util/json_tensor.cc reads and writes it.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import orjson
import tensorflow as tf
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from cxrflow.serving.status import StatusError, invalid
from cxrflow.serving.tensors import shape_of, too_many_rows

_BYTES_SUFFIX = "_bytes"  # outputs so named are base64
_WHITE_SPACE = b" \t\r\n\f\v"


@dataclass(frozen=True)
class Asked:
    """A Predict request's body."""

    signature: str  # empty where none is named
    values: Any  # of "instances" or "inputs"
    by_row: bool  # "instances"


@dataclass(frozen=True)
class Most:
    """What a body may hold."""

    values: int
    lists: int  # each of which costs what three numbers do
    names: int  # objects, names and texts, each of which costs what many numbers do
    rows: int


def parse(body: bytes, most: Most) -> dict[str, Any]:
    """The object that a body is.

    Each value but the first stands after a comma, each name before a colon, both names and texts
    between quotes: counting them costs no memory.

    Raises:
        StatusError: INVALID_ARGUMENT, no JSON object; RESOURCE_EXHAUSTED, it holds too much.
    """
    if body.count(b",") >= most.values:
        raise _too_many(f"{most.values} values")
    if body.count(b"[") > most.lists:
        raise _too_many(f"{most.lists} lists")
    if max(body.count(b"{"), body.count(b":"), body.count(b'"') // 2) > most.names:
        raise _too_many(f"{most.names} objects, names and texts")
    try:
        asked = orjson.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {str(error)[:200]}") from None
    if not isinstance(asked, dict):
        raise invalid("JSON Value is no object")
    return asked


def _too_many(what: str) -> StatusError:
    text = f"the body holds more than {what}, which is the most that is accepted"
    return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, 413)


def parse_predict(body: bytes, most: Most) -> Asked:
    """The body of :predict; other keys are left alone, as TF Serving does. Raises StatusError."""
    asked = parse(body, most)
    if ("instances" in asked) == ("inputs" in asked):
        raise invalid("Request must have either 'instances' or 'inputs', and not both")
    by_row = "instances" in asked
    return Asked(signature_of(asked), asked["instances" if by_row else "inputs"], by_row)


def signature_of(asked: dict[str, Any]) -> str:
    """The signature that a body names; empty if none. Raises StatusError."""
    name = asked.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    return name


def to_arrays(
    asked: Asked, definition: meta_graph_pb2.SignatureDef, max_rows: int
) -> dict[str, np.ndarray]:
    """The inputs of a signature; strings as object arrays of bytes. Raises StatusError."""
    columns = (
        _columns(asked.values, definition, max_rows)
        if asked.by_row
        else _named(asked.values, definition, "inputs")
    )
    for name, value in columns.items():
        rows = len(value) if isinstance(value, list) else 0
        if rows > max_rows and shape_of(definition.inputs[name])[:1] == [None]:
            raise too_many_rows(name, rows, max_rows)
    return {
        name: _to_array(name, value, definition.inputs[name]) for name, value in columns.items()
    }


def from_outputs(outputs: dict[str, np.ndarray], by_row: bool) -> bytes:
    """The answer's body. Raises StatusError where rows are asked for and a tensor has none."""
    lists = {name: _to_list(name, array) for name, array in outputs.items()}
    if by_row:
        return dump({"predictions": _rows(lists)})
    return dump({"outputs": next(iter(lists.values())) if len(lists) == 1 else lists})


def parse_classify(
    body: bytes, most: Most
) -> tuple[str, example_pb2.Example, list[example_pb2.Example]]:
    """A :classify body's signature, context, which goes before each example, and examples.

    Raises StatusError.
    """
    asked = parse(body, most)
    examples = asked.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid("When method is classify, key 'examples' is expected and was not found")
    context = asked.get("context", {})
    if not isinstance(context, dict) or not all(isinstance(each, dict) for each in examples):
        raise invalid("Example must be JSON object")
    if len(examples) > most.rows:
        raise invalid(f"{len(examples)} rows; 1 to {most.rows} are accepted at once")
    return signature_of(asked), _example(context), [_example(each) for each in examples]


def from_classes(rows: list[list[tuple[str, float]]]) -> bytes:
    """The answer to :classify: a list of [label, score] pairs an example."""
    return dump({"results": [[[label, score] for label, score in row] for row in rows]})


def dump(value: Any) -> bytes:
    """JSON with NaN and infinities as TF Serving writes them, which orjson doesn't."""
    return json.dumps(value).encode()


def _columns(
    instances: Any, definition: meta_graph_pb2.SignatureDef, max_rows: int
) -> dict[str, list[Any]]:
    """The row format: a list with one value, or one object of named values, an example."""
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a list with at least one value")
    if len(instances) > max_rows:
        raise invalid(f"{len(instances)} rows; 1 to {max_rows} are accepted at once")
    rows = [_named(row, definition, "instances") for row in instances]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise invalid("'instances' must all have the same inputs")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _named(value: Any, definition: meta_graph_pb2.SignatureDef, where: str) -> dict[str, Any]:
    """Values by the name of their input; the name may be left out where there is one input."""
    if isinstance(value, dict) and "b64" not in value:
        if unknown := value.keys() - set(definition.inputs):
            raise invalid(f"JSON object: does not have named input: {sorted(unknown)[0][:100]}")
        return value
    if len(definition.inputs) != 1:
        raise invalid(f"'{where}' must name the inputs: {', '.join(sorted(definition.inputs))}")
    return {next(iter(definition.inputs)): value}


def _to_array(name: str, value: Any, info: meta_graph_pb2.TensorInfo) -> np.ndarray:
    dtype = tf.as_dtype(info.dtype)
    try:
        if dtype == tf.string:
            return _object_array(_strings(value, len(shape_of(info))))
        array = np.asarray(value)
        if array.dtype.kind not in ("b" if dtype == tf.bool else "iuf"):
            raise ValueError
        return array.astype(dtype.as_numpy_dtype)
    except (ValueError, TypeError, RecursionError, OverflowError, binascii.Error):
        raise invalid(f"JSON values of {name} are not of expected type: {dtype.name}") from None


def _strings(value: Any, depth: int) -> Any:
    """Text and {"b64": ...} as bytes, in lists as they came. Raises ValueError if they are deeper.

    A list too deep ends it before its values are looked at.
    """
    if isinstance(value, list) and depth:
        return [_strings(one, depth - 1) for one in value]
    return _bytes(value)


def _bytes(value: Any) -> bytes:
    """Raises ValueError for anything but text and {"b64": text}."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        return decode_base64(value["b64"])
    raise ValueError


def decode_base64(text: str) -> bytes:
    """Base64 as absl::Base64Unescape takes it: white space anywhere, padding or none.

    Raises ValueError for anything else.
    """
    plain = text.encode("ascii").translate(None, _WHITE_SPACE).rstrip(b"=")
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


def _object_array(value: Any) -> np.ndarray:
    """Nested lists of bytes as an object array; NumPy's own strings lose trailing zeros."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    array = np.empty(shape, object)
    flat = [value]
    for _ in shape:
        flat = [one for many in flat for one in many]
    if len(flat) != array.size or not all(isinstance(one, bytes) for one in flat):
        raise ValueError
    array.ravel()[:] = flat
    return array


def _to_list(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    encoded = np.empty(array.size, object)
    encoded[:] = [
        {"b64": base64.b64encode(one).decode()}
        if name.endswith(_BYTES_SUFFIX)
        else one.decode(errors="replace")
        for one in array.ravel()
    ]
    return encoded.reshape(array.shape).tolist()


def _rows(outputs: dict[str, Any]) -> list[Any]:
    """An entry an example: the value where there is one output, else an object."""
    if not all(isinstance(value, list) for value in outputs.values()):
        raise invalid("Tensors without a 0th dimension can't be written by row; ask with 'inputs'")
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def _example(features: dict[str, Any]) -> example_pb2.Example:
    """A tf.Example: whole numbers, numbers, or text and bytes a feature; one or a list of them."""
    example = example_pb2.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        feature = example.features.feature[name]
        try:
            if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
                feature.int64_list.value.extend(values)
            elif all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                feature.float_list.value.extend(values)
            else:
                feature.bytes_list.value.extend(_bytes(v) for v in values)
        except (ValueError, TypeError):
            raise invalid(f"JSON value of feature {name[:100]} is of no type that fits") from None
    return example
