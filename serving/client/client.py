"""The client: X-rays to a server and typed results back."""

import hashlib
import socket
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import wrappers_pb2

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.image_rules import BadImage, check_image
from cxrflow.schema.model_json import (
    MODEL_JSON,
    BadModelJson,
    ModelJson,
    NewerFormat,
    parse_model_json,
)
from cxrflow.schema.store.manifest import MANIFEST
from cxrflow.schema.store.versions import serving_root
from cxrflow.schema.text import written
from cxrflow.serving.addresses import split
from cxrflow.serving.client.channel import connect
from cxrflow.serving.client.diagnose import missing_model, what_answers
from cxrflow.serving.client.images import Image, read_image
from cxrflow.serving.client.protos import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    tensor_pb2,
    types_pb2,
)
from cxrflow.serving.client.results import Answer, Failure, Finding, Model, Result, describe_model
from cxrflow.serving.client.settings import ClientConfig
from cxrflow.serving.pixels import unpack

# Our server's own metadata fields.
_MODEL_JSON = "model.json"
_DIGEST = "manifest.sha256"
_SIGNATURES = "signature_def"
_UNLIKE = "out_of_distribution"  # an output of models that tell how unlike their X-rays one is
# Failures of the server or the connection, not of an image: UNAVAILABLE is also its overload.
_SERVERS_FAULT = (grpc.StatusCode.UNAVAILABLE.name, grpc.StatusCode.DEADLINE_EXCEEDED.name)
_IS_IT_UP = "; is the server up? `cxrflow serve` starts one"


class GaveUp(CxrflowError):
    """Too many failures of the server in a row."""


class Client:
    """Asks one model of one server. Its methods may be called by several threads at once."""

    def __init__(self, config: ClientConfig | None = None):
        """Nothing is sent yet.

        Raises:
            CxrflowError: the server's address is none, both a version and a label are given, or a
                TLS file can't be read.
        """
        self.config = config = config or ClientConfig()
        if config.version is not None and config.label:
            raise CxrflowError("Give a version or a label, not both")
        for option, name in (("--model", config.model), ("--label", config.label)):
            if written(name) != name:
                raise CxrflowError(f"{option} {name} isn't UTF-8")
        self._channel = connect(config)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models: dict[int, Model] = {}
        self._digests: dict[int, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def check(self) -> int:
        """The version that answers now.

        Raises:
            CxrflowError: no server, no such model or version, or it gives no probabilities (no
                attention, where asked for).
        """
        config = self.config
        try:
            # gRPC would try again and again, and say less about why.
            socket.create_connection(split(config.server), config.connect).close()
            self._require_grpc()
            response = self._metadata(self._spec(), _SIGNATURES)
        except OSError as error:
            reason = error.strerror or f"no connection within {config.connect:g} s"
            raise CxrflowError(f"{config.server}: {reason}{_IS_IT_UP}") from None
        except grpc.RpcError as error:
            raise CxrflowError(f"{config.server}: {self._explain(error)}") from None
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[_SIGNATURES].Unpack(signatures)
        there = signatures.signature_def
        for output in self._outputs:
            if self._signature not in there or output not in there[self._signature].outputs:
                raise CxrflowError(f"The model {config.model} gives no {output}")
        return int(response.model_spec.version.value)

    def predict(self, image: Path | bytes) -> Result:
        """What the model says about an image file, or about the bytes of a PNG or JPEG.

        Never raises for an image or a server: what went wrong is the result.
        """
        source = "" if isinstance(image, bytes) else str(image)
        try:
            sent = Image(image) if isinstance(image, bytes) else read_image(image, self.config)
            header = check_image(sent.data, self.config.images)
            unpack(sent.data, 0)  # raises for what the server would refuse
            response = self._stub.Predict(self._request(sent.data), timeout=self.config.deadline)
            outputs = {name: _array(response.outputs[name])[0] for name in self._outputs}
            probabilities = _probabilities(outputs["probabilities"])
            score = _score(response.outputs)
        except BadImage as error:
            return Failure(source, error.reason)
        except grpc.RpcError as error:
            return Failure(source, _reason(error, self.config), error.code().name)
        except (ValueError, IndexError):
            return Failure(source, "the server's answer can't be understood", "INTERNAL")
        try:
            model = self._model(response.model_spec.version.value, len(probabilities))
        except NewerFormat as error:
            return Failure(source, f"the model's {_MODEL_JSON} {error}", "FAILED_PRECONDITION")
        findings = map(Finding, model.classes, probabilities, model.thresholds)
        answer = Answer(
            source,
            model,
            tuple(findings),
            (header.width, header.height),
            sent.notes + model.notes,
            outputs.get("attention"),
            sent.dicom,
            score,
        )
        if self.config.strict and answer.doubt:
            return Failure(source, f"refused by --strict: {answer.doubt}")
        return answer

    def digest(self, version: int) -> str | None:
        """The SHA-256 of a version's manifest.json, which holds the sums of all its files.

        Asked for once; None where neither `root` nor the server tells.
        """
        found = self._digests.get(version)
        if found is None:
            found = self._local_digest(version) or self._told(version, _DIGEST)
            if found is not None:
                self._digests[version] = found
        return found

    def predict_all(self, images: Iterable[Path]) -> Iterator[Result]:
        """`predict` for each, in their order, `window` at the same time.

        Raises:
            GaveUp: `give_up` failures in a row were the server's fault; images that nothing has
                been said of aren't asked. An image that is refused neither counts nor ends a row.
        """
        row = 0
        with closing(self._in_window(images)) as results:
            for result in results:
                yield result
                if isinstance(result, Answer):
                    row = 0
                elif result.code in _SERVERS_FAULT:
                    row += 1
                    if row == self.config.give_up:
                        times = "a failure" if row == 1 else f"{row} failures in a row"
                        raise GaveUp(f"gave up after {times} of the server: {result.reason}")

    def _in_window(self, images: Iterable[Path]) -> Generator[Result, None, None]:
        window = self.config.window
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(window, thread_name_prefix="predict") as pool:
            try:
                for image in images:
                    waiting.append(pool.submit(self.predict, image))
                    if len(waiting) == 2 * window:  # a slow one doesn't idle the others
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _require_grpc(self) -> None:
        """Where there is no gRPC soon, looks what there is; a busy server gets its time."""
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(self.config.connect)
        except grpc.FutureTimeoutError:
            ready.cancel()
            if wrong := what_answers(self.config):
                raise CxrflowError(f"{self.config.server} {wrong}") from None

    def _explain(self, error: grpc.RpcError) -> str:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return missing_model(self._channel, self.config, error)
        hint = _IS_IT_UP if error.code() == grpc.StatusCode.UNAVAILABLE else ""
        return f"{_reason(error, self.config)}{hint}"

    @property
    def _signature(self) -> str:
        return "attention" if self.config.attention else "serving_default"

    @property
    def _outputs(self) -> tuple[str, ...]:
        return ("probabilities", *(["attention"] if self.config.attention else []))

    def _spec(self, version: int | None = None) -> model_pb2.ModelSpec:
        config = self.config
        spec = model_pb2.ModelSpec(name=config.model)
        version = config.version if version is None else version
        if version is not None:
            spec.version.value = version
        elif config.label:
            spec.version_label = config.label
        return spec

    def _request(self, data: bytes) -> predict_pb2.PredictRequest:
        # No output filter: whether a version tells what is no chest X-ray isn't known before it
        # answers, and an output that it hasn't would be refused.
        request = predict_pb2.PredictRequest(model_spec=self._spec())
        request.model_spec.signature_name = self._signature
        value = request.inputs["image_bytes"]
        value.dtype = types_pb2.DT_STRING
        value.tensor_shape.dim.add(size=1)
        value.string_val.append(data)
        return request

    def _metadata(self, spec: model_pb2.ModelSpec, field: str) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=[field]
        )
        return self._stub.GetModelMetadata(request, timeout=self.config.deadline)

    def _model(self, version: int, classes: int) -> Model:
        """What is known of a version; asked for once. Raises NewerFormat."""
        with self._lock:
            if version not in self._models:
                config = self.config
                info = self._local_info(version) or self._served_info(version)
                self._models[version] = describe_model(
                    config.model, version, classes, info, config.point
                )
            return self._models[version]

    def _local_info(self, version: int) -> ModelJson | None:
        config = self.config
        if config.root is None:
            return None
        folder = serving_root(config.root) / config.model / str(version)
        try:
            return _parsed((folder / MODEL_JSON).read_bytes())
        except OSError:
            return None

    def _local_digest(self, version: int) -> str | None:
        config = self.config
        if config.root is None:
            return None
        manifest = serving_root(config.root) / config.model / str(version) / MANIFEST
        try:
            return hashlib.sha256(manifest.read_bytes()).hexdigest()
        except OSError:
            return None

    def _served_info(self, version: int) -> ModelJson | None:
        text = self._told(version, _MODEL_JSON)
        return None if text is None else _parsed(text)

    def _told(self, version: int, field: str) -> str | None:
        """A metadata field of our own server's; TF Serving refuses the question."""
        text = wrappers_pb2.StringValue()
        try:
            self._metadata(self._spec(version), field).metadata[field].Unpack(text)
        except grpc.RpcError:
            return None
        return str(text.value) or None


def _parsed(text: str | bytes) -> ModelJson | None:
    """What a model.json says; None if it is damaged. Raises NewerFormat."""
    try:
        return parse_model_json(text)
    except NewerFormat:
        raise
    except BadModelJson:
        return None


def _array(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """A float32 tensor. Raises ValueError if it is none."""
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.dtype != types_pb2.DT_FLOAT:
        raise ValueError("no float32 tensor")
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, np.float32).reshape(shape)
    values = np.array(proto.float_val, np.float32)
    # One value may stand for all.
    return np.resize(values, shape) if values.size == 1 else values.reshape(shape)


def _probabilities(output: np.ndarray) -> list[float]:
    """An image's row. Raises ValueError for anything else."""
    if output.ndim != 1 or not ((output >= 0) & (output <= 1)).all():
        raise ValueError("no probabilities")
    return [float(value) for value in output]


def _score(outputs: Mapping[str, tensor_pb2.TensorProto]) -> float | None:
    """How unlike the training X-rays an image is; None where the model doesn't tell.

    Raises ValueError for anything but a number from 0 on.
    """
    if _UNLIKE not in outputs:
        return None
    found = _array(outputs[_UNLIKE])
    if found.shape != (1,) or not found[0] >= 0:
        raise ValueError("no score")
    return float(found[0])


def _reason(error: grpc.RpcError, config: ClientConfig) -> str:
    """One line."""
    code, details = error.code(), " ".join((error.details() or "").split())
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {config.deadline:g} s"
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return details
    return f"{code.name}: {details}"
