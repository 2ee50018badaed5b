"""TensorProtos of requests and responses, to and from NumPy arrays."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from cxrflow.serving.status import StatusError, invalid

# The field that TF Serving's gRPC answers use for a type (Tensor::AsProtoField).
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int64: "int64_val",
    tf.int32: "int_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}

_POINTER = 8  # bytes, to a string


def shape_of(info: meta_graph_pb2.TensorInfo) -> list[int | None]:
    """A signature's shape, None where any size is allowed; empty for a scalar."""
    return [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]


def to_array(
    name: str,
    proto: tensor_pb2.TensorProto,
    info: meta_graph_pb2.TensorInfo,
    max_rows: int,
    max_bytes: int,
) -> np.ndarray:
    """The value of input `name`; strings as an object array of bytes.

    As in TF Serving, the last of too few values is repeated.

    Raises:
        StatusError: INVALID_ARGUMENT; type, shape or the number of values are not what the
            signature says, there are more than `max_rows` rows or `max_bytes` bytes, 8 for a
            string. Nothing is allocated before.
    """
    if proto.dtype != info.dtype:
        wanted, given = (_type_name(dtype) for dtype in (info.dtype, proto.dtype))
        raise invalid(f"Expects input {name} to be {wanted} but {given} is provided")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    wanted_shape = shape_of(info)
    fits = len(shape) == len(wanted_shape) and all(
        size >= 0 and wanted in (None, size)
        for size, wanted in zip(shape, wanted_shape, strict=True)
    )
    if proto.tensor_shape.unknown_rank or not fits:
        wanted_text = [-1 if size is None else size for size in wanted_shape]
        raise invalid(f"Input {name} has shape {shape}; the signature takes {wanted_text}")
    if wanted_shape and wanted_shape[0] is None and not 0 < shape[0] <= max_rows:
        raise too_many_rows(name, shape[0], max_rows)
    if math.prod(shape) * (tf.as_dtype(info.dtype).size or _POINTER) > max_bytes:
        raise invalid(f"Input {name} has shape {shape}, which is more than {max_bytes} bytes")
    try:
        if proto.dtype == types_pb2.DT_STRING:
            return _filled(proto.string_val, math.prod(shape)).reshape(shape)
        array: np.ndarray = tf.make_ndarray(proto)
        if array.shape != tuple(shape):
            raise ValueError
        return array
    except (ValueError, TypeError, IndexError):
        raise invalid(f"tensor parsing error: {name}") from None


def too_many_rows(name: str, rows: int, most: int) -> StatusError:
    """An input has no row, or more than are accepted at once."""
    return invalid(f"Input {name} has {rows} rows; 1 to {most} are accepted at once")


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """A TensorProto with the values in the typed field that TF Serving uses."""
    dtype = tf.as_dtype(array.dtype)
    if dtype not in _FIELDS:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    return proto


def distinct(
    inputs: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The rows that differ, in their order, and which of them each row is; None where all differ.

    A request can name one image for all its rows in a few bytes; it need not cost more than one.
    Only strings, [n], are looked at, by identity: `to_strings` gives equal ones one object.
    """
    columns = list(inputs.values())
    if any(column.dtype != object or column.ndim != 1 for column in columns):
        return inputs, None
    firsts: dict[tuple[int, ...], int] = {}
    which = [
        firsts.setdefault(tuple(map(id, row)), len(firsts)) for row in zip(*columns, strict=True)
    ]
    if len(firsts) == len(which):
        return inputs, None
    _, first_at = np.unique(which, return_index=True)
    return {name: column[first_at] for name, column in inputs.items()}, np.array(which)


def to_strings(values: Sequence[bytes]) -> np.ndarray:
    """An object array, [n]; equal values are the same object."""
    if len(values) > 1:
        one: dict[bytes, bytes] = {}
        values = [one.setdefault(value, value) for value in values]
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _filled(values: Sequence[bytes], count: int) -> np.ndarray:
    if len(values) > count or (count and not values):
        raise ValueError
    given = to_strings(values)
    array = np.empty(count, object)
    array[: len(given)] = given
    array[len(given) :] = given[-1] if count else None
    return array


def _type_name(dtype: int) -> str:
    try:
        return str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()
    except ValueError:
        return f"type {dtype}"
