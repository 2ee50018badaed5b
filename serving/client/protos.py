"""TF Serving's messages and stubs, as the client brings them.

Those of tensorflow-serving-api would import all of TensorFlow: mypy alone reads their names there.
"""

from typing import TYPE_CHECKING

from cxrflow.serving.client.own_protos import load

if TYPE_CHECKING:
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
else:
    globals().update(load())

__all__ = [
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "model_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
    "tensor_pb2",
    "types_pb2",
]
