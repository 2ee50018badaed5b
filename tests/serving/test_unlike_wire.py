"""A score an image, as `out_of_distribution` is, leaves the server in all three protocols."""

import json

import numpy as np
import pytest
from tensorflow_serving.apis import model_pb2

pytestmark = pytest.mark.tf

OUTPUTS = {
    "probabilities": np.float32([[0.25, 0.5], [0.75, 1.0]]),
    "out_of_distribution": np.float32([12.5, 3000.0]),
}


def test_rest_has_it_by_row_and_by_column():
    from cxrflow.serving.rest_json import from_outputs

    rows = json.loads(from_outputs(OUTPUTS, True))["predictions"]
    assert rows == [
        {"probabilities": [0.25, 0.5], "out_of_distribution": 12.5},
        {"probabilities": [0.75, 1.0], "out_of_distribution": 3000.0},
    ]
    columns = json.loads(from_outputs(OUTPUTS, False))["outputs"]
    assert columns["out_of_distribution"] == [12.5, 3000.0]


def test_the_open_inference_protocol_has_it_as_a_vector():
    from cxrflow.serving.open_inference import infer_response

    found = infer_response(model_pb2.ModelSpec(name="cxrflow"), "7", OUTPUTS)["outputs"]
    assert found[1] == {
        "name": "out_of_distribution",
        "shape": [2],
        "datatype": "FP32",
        "data": [12.5, 3000.0],
    }


def test_grpc_has_it_as_a_vector():
    import tensorflow as tf

    from cxrflow.serving.tensors import to_proto

    proto = to_proto(OUTPUTS["out_of_distribution"])
    assert [dim.size for dim in proto.tensor_shape.dim] == [2]
    np.testing.assert_array_equal(tf.make_ndarray(proto), [12.5, 3000.0])
