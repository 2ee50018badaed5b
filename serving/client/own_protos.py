"""TF Serving's messages and stubs without tensorflow-serving-api, which wants TensorFlow.

protos.json holds the message types that the client uses, as tensorflow-serving-api describes them;
`python -m tests.support.protos` writes it anew. They live in a pool of their own, so that a program
may load others of the same names beside them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.json_format import ParseDict

PROTOS = Path(__file__).with_name("protos.json")
SERVICES = {
    "PredictionService": {
        "Predict": ("PredictRequest", "PredictResponse"),
        "GetModelMetadata": ("GetModelMetadataRequest", "GetModelMetadataResponse"),
    },
    "ModelService": {"GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse")},
}
_PACKAGE = "tensorflow.serving"


def load() -> dict[str, Any]:
    """Modules as protoc would have made them: name, as `predict_pb2`, -> module.

    A service's module holds its stub; servers are made with tensorflow-serving-api.
    """
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    files = ParseDict(json.loads(PROTOS.read_text("utf-8")), descriptor_pb2.FileDescriptorSet())
    for file in files.file:
        pool.Add(file)
    modules = {}
    for file in files.file:
        name = Path(file.name).stem + "_pb2"
        modules[name] = module = ModuleType(name)
        for message in pool.FindFileByName(file.name).message_types_by_name.values():
            setattr(module, message.name, message_factory.GetMessageClass(message))
        for enum in pool.FindFileByName(file.name).enum_types_by_name.values():
            setattr(module, enum.name, _Enum(enum.values_by_name))
            for value in enum.values:
                setattr(module, value.name, value.number)
    for service, methods in SERVICES.items():
        types = {
            method: tuple(
                message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
                for name in names
            )
            for method, names in methods.items()
        }
        name = {"PredictionService": "prediction_service", "ModelService": "model_service"}[service]
        modules[f"{name}_pb2_grpc"] = module = ModuleType(f"{name}_pb2_grpc")
        setattr(module, f"{service}Stub", _stub(service, types))
    return modules


class _Enum:
    """What protoc makes of an enum, as far as the client uses it."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = values

    def Value(self, name: str) -> int:
        return int(self._values[name].number)


def _stub(service: str, types: Mapping[str, tuple[Any, ...]]) -> type:
    class Stub:
        def __init__(self, channel: grpc.Channel):
            for method, (request, response) in types.items():
                call = channel.unary_unary(
                    f"/{_PACKAGE}.{service}/{method}",
                    request_serializer=request.SerializeToString,
                    response_deserializer=response.FromString,
                )
                setattr(self, method, call)

    return Stub
