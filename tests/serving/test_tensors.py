"""TensorProtos: what fits a signature, and what is refused before memory is taken for it."""

import grpc
import numpy as np
import pytest

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def infos():
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2

    def info(dtype, *shape):
        made = meta_graph_pb2.TensorInfo(dtype=dtype)
        for size in shape:
            made.tensor_shape.dim.add(size=size)
        return made

    return {
        "image_bytes": info(types_pb2.DT_STRING, -1),
        "image": info(types_pb2.DT_FLOAT, -1, 2, 2, 3),
        "scalar": info(types_pb2.DT_INT64),
        "any": info(types_pb2.DT_FLOAT, -1, -1),
        "texts": info(types_pb2.DT_STRING, -1, -1),
    }


def proto(values, shape=None, dtype=None):
    import tensorflow as tf

    made = tf.make_tensor_proto(values, dtype=dtype)
    if shape is not None:
        del made.tensor_shape.dim[:]
        for size in shape:
            made.tensor_shape.dim.add(size=size)
    return made


def test_values_survive(infos):
    from cxrflow.serving.tensors import to_array

    images = to_array("image_bytes", proto([b"a\0", b""]), infos["image_bytes"], 4, 2**20)
    assert images.dtype == object and images.tolist() == [b"a\0", b""]
    ones = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    assert np.array_equal(to_array("image", proto(ones), infos["image"], 4, 2**20), ones)
    assert to_array("scalar", proto(5, dtype="int64"), infos["scalar"], 4, 2**20) == 5
    # As in TF Serving, the last of too few values counts for the rest.
    few = to_array("image_bytes", proto([b"a"], [3]), infos["image_bytes"], 4, 2**20)
    assert few.tolist() == [b"a"] * 3


@pytest.mark.parametrize(
    "name, values, shape, dtype, text",
    [
        ("image_bytes", [1.0], None, "float32", "to be string but float is provided"),
        ("image", [b"x"], None, None, "to be float but string is provided"),
        ("image_bytes", b"x", [], None, r"shape \[\]; the signature takes \[-1\]"),
        ("image_bytes", [b"x"], [1, 1], None, r"shape \[1, 1\]"),
        ("image_bytes", [b"x"], [-1], None, r"shape \[-1\]"),
        ("image_bytes", [b"x"], [5], None, "5 rows; 1 to 4"),
        ("image_bytes", [b"x"], [10**12], None, "1000000000000 rows"),
        ("image_bytes", [b"x"], [0], None, "0 rows"),
        ("image_bytes", [b"x", b"y"], [1], None, "tensor parsing error"),
        ("image", np.zeros((1, 2, 2, 1), "f"), None, None, r"takes \[-1, 2, 2, 3\]"),
        ("image", np.zeros((1, 2, 2, 2), "f"), [1, 2, 2, 3], None, "tensor parsing error"),
        ("any", [1.0], [4, 2**40], "float32", "which is more than 1048576 bytes"),
        ("texts", [b"x"], [4, 2**40], None, "which is more than 1048576 bytes"),
    ],
)
def test_misfits_are_the_clients_mistake(infos, name, values, shape, dtype, text):
    from cxrflow.serving.status import StatusError
    from cxrflow.serving.tensors import to_array

    with pytest.raises(StatusError, match=text) as caught:
        to_array(name, proto(values, shape, dtype), infos[name], 4, 2**20)
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0.5, 2]], np.float32),
        np.array([1, -2], np.int64),
        np.array([[True], [False]]),
        np.array([b"a", b"bc"], object),
        np.array([1, 2], np.int32),
        np.array([1, 2], np.uint8),
    ],
)
def test_answers_use_typed_fields(array):
    import tensorflow as tf

    from cxrflow.serving.tensors import to_proto

    made = to_proto(array)
    assert np.array_equal(tf.make_ndarray(made), array)
    if array.dtype != np.uint8:
        assert not made.tensor_content


@pytest.mark.parametrize(
    "names, which",
    [
        ("a", None),
        ("abc", None),
        ("aaaa", [0, 0, 0, 0]),
        ("abab", [0, 1, 0, 1]),
        ("baac", [0, 1, 1, 2]),
    ],
)
def test_equal_rows_are_found_in_the_order_they_came(names, which):
    from cxrflow.serving.tensors import distinct, to_strings

    # Values made anew are other objects, as a message's are.
    column = to_strings([bytes([ord(name)]) * 2 for name in names])
    found, index = distinct({"image_bytes": column})
    kept = found["image_bytes"].tolist()
    assert kept == [2 * name.encode() for name in dict.fromkeys(names)]
    assert (index if index is None else index.tolist()) == which


def test_rows_are_equal_where_all_inputs_are():
    from cxrflow.serving.tensors import distinct, to_strings

    inputs = {"a": to_strings([b"xx", b"xx", b"xx"]), "b": to_strings([b"yy", b"zz", b"yy"])}
    found, index = distinct(inputs)
    assert index.tolist() == [0, 1, 0] and found["b"].tolist() == [b"yy", b"zz"]
    numbers = {"a": np.zeros((3, 2), "f")}
    assert distinct(numbers) == (numbers, None)
