"""PredictionService and ModelService of tensorflow-serving-api over gRPC."""

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.core import Call, Core
from serving.metrics import Metrics
from serving.status import StatusError, invalid

logger = logging.getLogger(__name__)

MODELS_KEY = "cxrflow-models"  # trailing metadata: the models there are, a JSON array
_PACKAGE = "tensorflow.serving"
_METHODS = {
    "PredictionService": {
        "Classify": (
            classification_pb2.ClassificationRequest,
            classification_pb2.ClassificationResponse,
        ),
        "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
        "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
        "MultiInference": (
            inference_pb2.MultiInferenceRequest,
            inference_pb2.MultiInferenceResponse,
        ),
        "GetModelMetadata": (
            get_model_metadata_pb2.GetModelMetadataRequest,
            get_model_metadata_pb2.GetModelMetadataResponse,
        ),
    },
    "ModelService": {
        "GetModelStatus": (
            get_model_status_pb2.GetModelStatusRequest,
            get_model_status_pb2.GetModelStatusResponse,
        ),
        "HandleReloadConfigRequest": (
            model_management_pb2.ReloadConfigRequest,
            model_management_pb2.ReloadConfigResponse,
        ),
    },
}
SERVICES = tuple(f"{_PACKAGE}.{name}" for name in _METHODS)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify and GetModelMetadata; the rest is UNIMPLEMENTED."""

    def __init__(self, core: Core, max_deadline: float):
        self._core, self._max_deadline = core, max_deadline

    def Predict(self, request: Message, context: grpc.ServicerContext) -> Message:
        return self._core.predict(request, self._call(context))

    def Classify(self, request: Message, context: grpc.ServicerContext) -> Message:
        return self._core.classify(request, self._call(context))

    def GetModelMetadata(self, request: Message, context: grpc.ServicerContext) -> Message:
        # For who asks for a model that isn't there; ASCII, as gRPC's metadata must be.
        names = json.dumps(sorted(self._core.manager.served()))
        context.set_trailing_metadata([(MODELS_KEY, names)])
        return self._core.metadata(request)

    def Regress(self, request: Message, context: grpc.ServicerContext) -> Message:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "The models classify; use Predict")

    MultiInference = Regress

    def _call(self, context: grpc.ServicerContext) -> Call:
        left = context.time_remaining()
        seconds = self._max_deadline if left is None else min(left, self._max_deadline)
        return Call(time.monotonic() + seconds, context.add_callback)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, core: Core):
        self._core = core

    def GetModelStatus(self, request: Message, context: grpc.ServicerContext) -> Message:
        return self._core.status(request)

    def HandleReloadConfigRequest(self, request: Message, context: grpc.ServicerContext) -> Message:
        return self._core.reload(request)


class Boundary(grpc.ServerInterceptor):
    """Between the wire and the two services: parses requests, turns errors into codes, counts.

    gRPC itself would call a request that can't be parsed an INTERNAL error of the server.
    """

    def __init__(self, metrics: Metrics):
        self._metrics = metrics

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Wraps the methods of the two services; health and reflection stay as they are."""
        handler = continuation(handler_call_details)
        _, service, method = handler_call_details.method.split("/")
        if handler is None or service not in SERVICES:
            return handler
        answer, parse = handler.unary_unary, handler.request_deserializer

        def wrapped(data: bytes, context: grpc.ServicerContext) -> Message:
            started = time.perf_counter()
            request, code = None, grpc.StatusCode.OK
            try:
                request = _parsed(parse, data)
                return answer(request, context)
            except StatusError as error:
                code = error.code
                context.abort(code, str(error))
            except Exception:
                code = grpc.StatusCode.INTERNAL
                logger.exception("%s failed", method)
                context.abort(code, "internal error; the server's log has the reason")
            finally:
                self._metrics.count(
                    _model(request), code.name, method, "gRPC", time.perf_counter() - started
                )

        return grpc.unary_unary_rpc_method_handler(
            wrapped, request_deserializer=None, response_serializer=handler.response_serializer
        )


def _parsed(parse: Callable[[bytes], Message], data: bytes) -> Message:
    try:
        return parse(data)
    except DecodeError:
        raise invalid("The request can't be parsed") from None


def _model(request: Any) -> str:
    with contextlib.suppress(AttributeError):
        return request.model_spec.name
    return ""


def add_services(server: grpc.Server, core: Core, max_deadline: float) -> None:
    """Registers both services."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(core, max_deadline), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core), server)


def describe_services() -> None:
    """Makes the services known to gRPC reflection.

    tensorflow-serving-api's prediction_service_pb2 and model_service_pb2 would, but protobuf 6
    can't import them; their stubs and messages work.
    """
    pool = descriptor_pool.Default()
    for service, methods in _METHODS.items():
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", service).lower()
        file = descriptor_pb2.FileDescriptorProto(
            name=f"tensorflow_serving/apis/{snake}.proto", package=_PACKAGE, syntax="proto3"
        )
        described = file.service.add(name=service)
        for method, (request, response) in methods.items():
            described.method.add(
                name=method,
                input_type=f".{request.DESCRIPTOR.full_name}",
                output_type=f".{response.DESCRIPTOR.full_name}",
            )
            files = {kind.DESCRIPTOR.file.name for kind in (request, response)}
            file.dependency.extend(sorted(files - set(file.dependency)))
        with contextlib.suppress(KeyError):
            pool.FindFileByName(file.name)
            continue
        pool.Add(file)
