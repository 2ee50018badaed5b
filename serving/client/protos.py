"""TF Serving's messages and stubs, without the seconds that TensorFlow's import takes.

Those of tensorflow-serving-api import messages of tensorflow.core, and with them all of TensorFlow.
Here they find these in a bare package `tensorflow`, which goes again, so that a later `import
tensorflow` is a whole one; protobuf gives that the same message classes. Where the two packages
aren't installed, the client brings its own.
"""

import importlib.util

from cxrflow.schema.bare_tensorflow import bare_tensorflow

if importlib.util.find_spec("tensorflow_serving"):
    with bare_tensorflow():
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
    from cxrflow.serving.client.own_protos import load

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
