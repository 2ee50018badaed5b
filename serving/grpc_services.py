"""PredictionService and ModelService of tensorflow-serving-api over gRPC."""

import asyncio
import contextlib
import hmac
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError, Message
from grpc_reflection.v1alpha import reflection, reflection_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving import access, model_info
from cxrflow.serving.client.diagnose import MODELS_KEY
from cxrflow.serving.core import Call, Core
from cxrflow.serving.messages import Messages
from cxrflow.serving.metrics import Metrics
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.status import StatusError, invalid

logger = logging.getLogger(__name__)

_PACKAGE = "tensorflow.serving"
_NEED_PLACE = ("Predict", "Classify")  # refused before their message is read, if there is none
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
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

Read = Callable[[], Any]  # parses the request
Answer = Callable[[Read, grpc.aio.ServicerContext, Call], Awaitable[Message]]


class Services:
    """The two services' methods over the wire: parses requests, turns errors into codes, counts.

    gRPC itself would call a request that can't be parsed an INTERNAL error of the server.
    """

    def __init__(self, core: Core, metrics: Metrics, config: ServerConfig):
        self._core, self._metrics, self._config = core, metrics, config
        self._token = _read_token(config.reload_token_file)
        self.messages = Messages(
            config.connection_messages, config.max_messages_bytes, config.max_message_bytes
        )
        self.draining = False
        self.under_way = 0  # whole requests whose answers haven't left; no streams of health
        self._answers: dict[str, Answer] = {
            "Predict": lambda read, _, call: core.predict(read, call),
            "Classify": lambda read, _, call: core.classify(read, call),
            "Regress": _unimplemented,
            "MultiInference": _unimplemented,
            "GetModelMetadata": self._metadata,
            "GetModelStatus": self._status,
            "HandleReloadConfigRequest": self._reload,
        }

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers both services."""
        for service, methods in _METHODS.items():
            handlers = {
                # On the wire a stream of one message is none; but it is read when we want it.
                method: grpc.stream_unary_rpc_method_handler(
                    self._handler(method, request),
                    request_deserializer=None,
                    response_serializer=response.SerializeToString,
                )
                for method, (request, response) in methods.items()
            }
            generic = grpc.method_handlers_generic_handler(f"{_PACKAGE}.{service}", handlers)
            server.add_generic_rpc_handlers((generic,))

    def _handler(
        self, method: str, kind: type[Message]
    ) -> Callable[[object, grpc.aio.ServicerContext], Awaitable[Message]]:
        answer = self._answers[method]

        async def handle(_: object, context: grpc.aio.ServicerContext) -> Message:
            started, data, call = time.perf_counter(), b"", self._call(context)
            model, size, code = "", 0, grpc.StatusCode.OK

            def read() -> Message:
                nonlocal data, model
                packed, data, request = data, b"", kind()  # no copy stays that nobody needs
                try:
                    request.ParseFromString(packed)
                except DecodeError:
                    raise invalid("The request can't be parsed") from None
                model = _model(request)
                return request

            try:
                self._require_going_on()
                if method in _NEED_PLACE:
                    await self._core.places.require()
                data = await self.messages.read(context.read, context.peer(), call.deadline)
                self._require_going_on()
                started, size = time.perf_counter(), len(data)
                self.under_way += 1  # until the answer has left
                context.add_done_callback(self._ended)
                with self.messages.counted(size):
                    return await answer(read, context, call)
            except StatusError as error:
                code, text = error.code, str(error)
                # Its traceback holds the request's bytes; gRPC keeps the error that abort raises.
                error.__traceback__ = error.__context__ = None
                await context.abort(code, text)
                raise AssertionError("abort raises") from error
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                code = grpc.StatusCode.INTERNAL
                logger.exception("%s failed", method)
                await context.abort(code, "internal error; the server's log has the reason")
                raise
            finally:
                data = b""  # of a refused one: the error that abort raised holds this frame
                seconds = time.perf_counter() - started
                self._metrics.count(model, code.name, method, "gRPC", seconds, size)
                if self._config.access_log:
                    access.log(
                        context.peer(), method, model, call.version, code.name, seconds, size
                    )

        return handle

    def _ended(self, _: grpc.aio.ServicerContext) -> None:
        self.under_way -= 1

    def _require_going_on(self) -> None:
        if self.draining:
            raise StatusError(grpc.StatusCode.UNAVAILABLE, "The server is stopping")

    def _call(self, context: grpc.aio.ServicerContext) -> Call:
        left = context.time_remaining()
        most = self._config.max_deadline
        return Call(time.monotonic() + (most if left is None else min(left, most)))

    async def _metadata(self, read: Read, context: grpc.aio.ServicerContext, _: Call) -> Message:
        # For who asks for a model that isn't there; ASCII, as gRPC's metadata must be.
        names = json.dumps(sorted(self._core.manager.served()))
        context.set_trailing_metadata([(MODELS_KEY, names)])
        return model_info.metadata(self._core.manager, read())

    async def _status(self, read: Read, *_: object) -> Message:
        return model_info.status(self._core.manager, read())

    async def _reload(self, read: Read, context: grpc.aio.ServicerContext, _: Call) -> Message:
        if not self._config.allow_reload:
            raise StatusError(
                grpc.StatusCode.PERMISSION_DENIED,
                "Reloading over gRPC is off; the server's setting allow_reload switches it on",
            )
        if self._token and not self._has_token(context):
            raise StatusError(
                grpc.StatusCode.UNAUTHENTICATED, "The bearer token is wrong or missing"
            )
        # It waits until the models are loaded, which may take minutes.
        return await asyncio.to_thread(model_info.reload, self._core.manager, read())

    def _has_token(self, context: grpc.aio.ServicerContext) -> bool:
        metadata = dict(context.invocation_metadata() or ())
        given = str(metadata.get("authorization", ""))
        return hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode())


async def _unimplemented(*_: object) -> Message:
    raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "The models classify; use Predict")


def _read_token(path: str) -> str:
    if not path:
        return ""
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CxrflowError(f"reload_token_file {path} can't be read: {error}") from None
    if not token:
        raise CxrflowError(f"reload_token_file {path} is empty: write a long random token into it")
    return token


def _model(request: Any) -> str:
    with contextlib.suppress(AttributeError):
        return str(request.model_spec.name)
    return ""


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """gRPC reflection under both of its names; v1's messages are v1alpha's."""
    describe_services()
    servicer = reflection.aio.ReflectionServicer(services)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in REFLECTION:
        generic = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
        server.add_generic_rpc_handlers((generic,))


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
