"""TF Serving's REST API, health and the metrics page, as an ASGI application.

Formats and paths: https://www.tensorflow.org/tfx/serving/api_rest.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from cxrflow.schema.packages import installed
from cxrflow.serving import access, model_info
from cxrflow.serving.bodies import Bodies
from cxrflow.serving.core import Call, Core
from cxrflow.serving.metrics import Metrics
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.status import StatusError, invalid

logger = logging.getLogger(__name__)

METRICS_PATH = "/monitoring/prometheus/metrics"
# TF Serving's kPathRegex and its like; they don't mind the case.
_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?:(?P<metadata>/metadata)|:(?P<method>\w+))?",
    re.IGNORECASE,
)
_APIS = {
    "predict": "Predict",
    "classify": "Classify",
    "regress": "Regress",
    "/metadata": "GetModelMetadata",
    "": "GetModelStatus",
}
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]  # Starlette adds HEAD to GET

_Answer = Callable[[Request, re.Match[str]], Awaitable[Response]]
_Answers = dict[str, _Answer]


class Rest:
    """The application; `app` is what the HTTP server runs."""

    def __init__(self, core: Core, metrics: Metrics, config: ServerConfig):
        self._core, self._metrics, self._config = core, metrics, config
        self._bodies = Bodies(config.max_rest_bytes, config.max_bodies_bytes)
        self.draining = False
        cors = [
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
            )
        ]
        own = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route(METRICS_PATH, self._page),
            *self._open_routes(),
        ]
        self._own_paths = {route.path for route in own}
        self.app = Starlette(
            routes=[*own, Route("/{path:path}", self._answer, methods=_METHODS)],
            middleware=cors if config.cors_origins else [],
        )

    def give_up(self) -> None:
        """Waits no longer for bodies that are still to come: what they ask isn't under way yet."""
        self._bodies.give_up()

    async def _healthz(self, _: Request) -> Response:
        """The process answers."""
        return _json({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        """A model can be asked, and the server isn't stopping."""
        if self.draining:
            return _json({"status": "stopping"}, HTTPStatus.SERVICE_UNAVAILABLE)
        served = self._core.manager.served()
        if not served:
            return _json({"status": "no model"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"status": "ok", "models": served})

    async def _page(self, _: Request) -> Response:
        return Response(self._metrics.page(), media_type="text/plain; version=0.0.4")

    async def _answer(self, request: Request) -> Response:
        path = _PATH.fullmatch(request.url.path)
        if not path and not request.url.path.lower().startswith("/v1/"):
            known = request.url.path in self._own_paths
            status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
            return _error(status.phrase, status)
        asked = ((path["metadata"] or path["method"] or "") if path else "").lower()

        async def answer(request: Request) -> Response:
            if not path:
                raise _malformed(request)
            return await self._find(request, asked)(request, path)

        model = path["model"] if path else ""
        return await self._counted(request, _APIS.get(asked, "unknown"), answer, model)

    async def _counted(
        self,
        request: Request,
        api: str,
        answer: Callable[[Request], Awaitable[Response]],
        model: str = "",
    ) -> Response:
        """Answers, turns errors into statuses, and counts."""
        started, code = time.perf_counter(), grpc.StatusCode.OK
        try:
            response = await answer(request)
        except StatusError as error:
            code = error.code
            response = _error(str(error), error.http)
        except asyncio.CancelledError:
            if not self.draining:
                raise
            code = grpc.StatusCode.UNAVAILABLE  # it takes longer than a stopping server waits
            response = _error("The server is stopping", HTTPStatus.SERVICE_UNAVAILABLE)
        except ClientDisconnect:
            code = grpc.StatusCode.CANCELLED
            response = Response(status_code=499)
        except Exception:
            code = grpc.StatusCode.INTERNAL
            logger.exception("%s %s failed", request.method, request.url.path)
            text = "internal error; the server's log has the reason"
            response = _error(text, HTTPStatus.INTERNAL_SERVER_ERROR)
        if self.draining:
            response.headers["connection"] = "close"
        seconds = time.perf_counter() - started
        model = model or request.path_params.get("model", "")
        size, call = getattr(request.state, "size", 0), getattr(request.state, "call", None)
        self._metrics.count(model, code.name, api, "REST", seconds, size)
        if self._config.access_log:
            peer = "{}:{}".format(*request.client) if request.client else "-"
            what = f"{request.method} {request.url.path}"
            version = call.version if call else None
            access.log(peer, what, model, version, response.status_code, seconds, size)
        return response

    def _find(self, request: Request, asked: str) -> _Answer:
        posts: _Answers = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }
        gets: _Answers = {"": self._status, "/metadata": self._metadata}
        answers = {"POST": posts, "GET": gets}.get(request.method, {})
        if asked not in answers:
            raise _malformed(request)
        return answers[asked]

    async def _predict(self, request: Request, path: re.Match[str]) -> Response:
        body = await self._body(request)
        with self._bodies.counted(body):
            work = self._core.predict_json(_spec(path), body, self._call(request))
            return Response(await _unless_gone(request, work), media_type="application/json")

    async def _classify(self, request: Request, path: re.Match[str]) -> Response:
        body = await self._body(request)
        with self._bodies.counted(body):
            work = self._core.classify_json(_spec(path), body, self._call(request))
            return Response(await _unless_gone(request, work), media_type="application/json")

    async def _regress(self, request: Request, path: re.Match[str]) -> Response:
        raise invalid(
            "Expected regression signature method_name to be tensorflow/serving/regress: the "
            "models classify; use :predict"
        )

    def _open_routes(self) -> list[Route]:
        """The Open Inference Protocol v2."""
        name, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version:int}"
        return [
            Route("/v2", self._open_server),
            Route("/v2/health/live", self._healthz),
            Route("/v2/health/ready", self._readyz),
            *(Route(f"{path}/ready", self._open_ready) for path in (name, version)),
            *(Route(path, self._open_metadata) for path in (name, version)),
            *(Route(f"{path}/infer", self._infer, methods=["POST"]) for path in (name, version)),
        ]

    async def _open_server(self, _: Request) -> Response:
        return _json(
            {"name": "cxrflow", "version": installed("cxrflow") or "unknown", "extensions": []}
        )

    async def _open_ready(self, request: Request) -> Response:
        return await self._counted(request, "Ready", self._ready_of_model)

    async def _ready_of_model(self, request: Request) -> Response:
        self._require_going_on()
        with self._core.manager.lease(_open_spec(request)):
            return _json({"ready": True})

    async def _open_metadata(self, request: Request) -> Response:
        async def answer(request: Request) -> Response:
            return _json(model_info.open_metadata(self._core.manager, _open_spec(request)))

        return await self._counted(request, "GetModelMetadata", answer)

    async def _infer(self, request: Request) -> Response:
        async def answer(request: Request) -> Response:
            body = await self._body(request)
            with self._bodies.counted(body):
                work = self._core.infer_json(_open_spec(request), body, self._call(request))
                return Response(await _unless_gone(request, work), media_type="application/json")

        return await self._counted(request, "Infer", answer)

    async def _status(self, _: Request, path: re.Match[str]) -> Response:
        return _message(
            model_info.status(
                self._core.manager,
                get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(path)),
            )
        )

    async def _metadata(self, _: Request, path: re.Match[str]) -> Response:
        asked = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(path), metadata_field=["signature_def"]
        )
        return _message(model_info.metadata(self._core.manager, asked))

    async def _body(self, request: Request) -> bytes:
        """The body, unless the server stops or is full: that is said before it is read."""
        self._require_going_on()
        await self._core.places.require()
        try:
            body = await self._bodies.read(request)
        except StatusError:
            self._require_going_on()  # else that is the reason
            raise
        request.state.size = len(body)
        return body

    def _require_going_on(self) -> None:
        if self.draining:
            raise StatusError(grpc.StatusCode.UNAVAILABLE, "The server is stopping")

    def _call(self, request: Request) -> Call:
        call = Call(time.monotonic() + self._config.max_deadline)
        request.state.call = call
        return call


async def _unless_gone(request: Request, work: Awaitable[bytes]) -> bytes:
    """The result, unless the client goes before: then the work is cancelled."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # after the body only a disconnect comes
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


def _spec(path: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=path["model"])
    if path["version"]:
        spec.version.value = int(path["version"])
    elif path["label"]:
        spec.version_label = path["label"]
    return spec


def _open_spec(request: Request) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=request.path_params["model"])
    if "version" in request.path_params:
        spec.version.value = request.path_params["version"]
    return spec


def _malformed(request: Request) -> StatusError:
    return invalid(f"Malformed request: {request.method} {request.url.path[:200]}")


def _message(message: Message) -> Response:
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return Response(text, media_type="application/json")


def _json(value: object, status: int = HTTPStatus.OK) -> Response:
    return Response(json.dumps(value), status_code=status, media_type="application/json")


def _error(text: str, status: int) -> Response:
    response = _json({"error": text}, status)
    if status in _CLOSING:
        response.headers["connection"] = "close"
    return response


# After these the rest of the request isn't read.
_CLOSING = (
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
