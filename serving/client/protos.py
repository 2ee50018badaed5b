"""TF Serving's messages and stubs, without the seconds that TensorFlow's import takes.

Those of tensorflow-serving-api import messages of tensorflow.core, and with them all of TensorFlow.
Here they find these in a bare package `tensorflow`, which goes again, so that a later `import
tensorflow` is a whole one; protobuf gives that the same message classes. Where the two packages
aren't installed, the client brings its own.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def bare_tensorflow() -> Iterator[None]:
    """Where TensorFlow isn't imported yet, its __init__.py is not run inside the block."""
    spec = None if "tensorflow" in sys.modules else importlib.util.find_spec("tensorflow")
    if spec is None:
        yield
        return
    bare = ModuleType("tensorflow")
    bare.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["tensorflow"] = bare
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
            del sys.modules[name]


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
