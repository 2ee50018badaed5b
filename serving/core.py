"""What requests ask for, whichever way they come: the semantics of TF Serving.

Codes and texts follow tensorflow_serving/servables/tensorflow/{predict_util,classifier}.cc,
model_servers/{server_core,get_model_status_impl}.cc and core/basic_manager.cc. Three things differ:
a request that names neither version nor label gets the stable version, where TF Serving takes the
highest one loaded, so that a canary sees only requests that ask for it; Classify is answered (see
`Core.classify`), where TF Serving refuses signatures that weren't exported for it; and
GetModelMetadata knows the field model.json.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
from google.protobuf import wrappers_pb2
from google.protobuf.message import DecodeError, Message
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from schema.features import IMAGE, T_IMAGE
from serving.batching import Task, expired
from serving.images import BadImage, ImageLimits, check_image
from serving.manager import Manager, Source, Version
from serving.pixels import unpack
from serving.servable import DEFAULT_SIGNATURE, EXAMPLES, IMAGE_BYTES
from serving.settings import ServerConfig
from serving.status import StatusError, invalid, not_found
from serving.tensors import to_array, to_proto

_METADATA = "signature_def"
# Ours: assets.extra/model.json as a StringValue, for clients to name classes by.
_MODEL_JSON = "model.json"
_CLASSIFY = "tensorflow/serving/classify"
_PLATFORM = "tensorflow"
_GRAPH_LIMITS = ImageLimits()
_TENSOR_PROTO = b"\x08"  # how a serialized tensor starts: its dtype


@dataclass(frozen=True)
class Call:
    """How long a request may take, and how to learn that its client has gone."""

    deadline: float  # of time.monotonic
    on_cancel: Callable[[Callable[[], None]], Any] = lambda _: None


class Core:
    """Answers requests with the models of a Manager. Every method raises StatusError."""

    def __init__(self, manager: Manager, config: ServerConfig):
        self.manager, self._config = manager, config

    def predict(self, request: predict_pb2.PredictRequest, call: Call) -> Message:
        """PredictionService.Predict."""
        _require_spec(request)
        with self.manager.lease(request.model_spec) as version:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            definition = _signature(version, name)
            inputs = self._inputs(request.inputs, definition)
            outputs = _outputs(request.output_filter, definition)
            values = self._run(version, name, inputs, outputs, call)
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, version, name)
        for output, value in values.items():
            response.outputs[output].CopyFrom(to_proto(value))
        return response

    def classify(self, request: classification_pb2.ClassificationRequest, call: Call) -> Message:
        """PredictionService.Classify: raw tf.Examples through the signature `examples`.

        Scores are its probabilities, labels the classes of assets.extra/model.json. The signature
        may be left out.
        """
        _require_spec(request)
        with self.manager.lease(request.model_spec) as version:
            name = request.model_spec.signature_name or EXAMPLES
            definition = version.servable and version.servable.signatures.get(name)
            if not definition:
                raise invalid(f"No signature was found with the name: {name}")
            classes = version.classes
            if name != EXAMPLES or not classes or "probabilities" not in definition.outputs:
                raise invalid(
                    f"Expected classification signature method_name to be {_CLASSIFY}. "
                    f"Was: {definition.method_name}; use Predict, or the signature {EXAMPLES}"
                )
            serialized = _examples(request.input)
            if not serialized:
                raise invalid("Input is empty.")
            self._check_count(len(serialized))
            inputs = {EXAMPLES: np.array(serialized, object)}
            self._check_images(inputs)
            values = self._run(version, name, inputs, ("probabilities",), call)
            response = classification_pb2.ClassificationResponse()
            _fill_spec(response.model_spec, version, name)
        for scores in values["probabilities"].tolist():
            found = response.result.classifications.add()
            for label, score in zip(classes, scores, strict=True):
                found.classes.add(label=label, score=score)
        return response

    def metadata(self, request: get_model_metadata_pb2.GetModelMetadataRequest) -> Message:
        """PredictionService.GetModelMetadata."""
        _require_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field not in (_METADATA, _MODEL_JSON):
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self.manager.lease(request.model_spec) as version:
            assert version.servable
            for name, definition in version.servable.signatures.items():
                signatures.signature_def[name].CopyFrom(definition)
            _fill_spec(response.model_spec, version)
            info = wrappers_pb2.StringValue(value=version.info)
        for field, value in ((_METADATA, signatures), (_MODEL_JSON, info)):
            if field in request.metadata_field:
                response.metadata[field].Pack(value)
        return response

    def status(self, request: get_model_status_pb2.GetModelStatusRequest) -> Message:
        """ModelService.GetModelStatus."""
        _require_spec(request)
        spec = request.model_spec
        versions = self.manager.statuses(spec.name)
        choice = spec.WhichOneof("version_choice")
        if choice:
            number = (
                self.manager.labelled(spec.name, spec.version_label)
                if choice == "version_label"
                else spec.version.value
            )
            if number not in versions:
                raise not_found(f"Could not find version {number} of model {spec.name}")
            versions = {number: versions[number]}
        elif not versions:
            raise not_found(f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in sorted(versions, reverse=True):
            version = versions[number]
            status = response.model_version_status.add(version=number, state=version.state)
            status.status.SetInParent()  # OK
            if version.error:
                status.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
                status.status.error_message = version.error
        return response

    def reload(self, request: model_management_pb2.ReloadConfigRequest) -> Message:
        """ModelService.HandleReloadConfigRequest; base_path must lie in the serving root."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        sources: dict[str, Source] = {}
        for config in request.config.model_config_list.config:
            if not config.name or config.name in sources:
                raise invalid(f"Illegal to list model {config.name} multiple times or unnamed")
            sources[config.name] = self._source(config)
        if not sources:
            # TF Serving would unload everything; some damaged requests read as an empty list.
            raise invalid("config.model_config_list names no model: nothing would be served")
        self.manager.configure(sources)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # OK
        return response

    def _source(self, config: model_server_config_pb2.ModelConfig) -> Source:
        if config.model_platform not in ("", _PLATFORM):
            raise invalid(
                f"Model {config.name} requests unsupported platform {config.model_platform}"
            )
        root = self.manager.root
        try:
            folder = (root / config.base_path).resolve()
            inside = folder != root and folder.is_relative_to(root) and folder.is_dir()
        except (OSError, ValueError):  # what no path can be
            inside = False
        if not inside:
            raise invalid(f"base_path of {config.name} is no folder inside the serving root")
        policy = config.model_version_policy
        choose = None
        if policy.HasField("specific"):
            chosen = set(policy.specific.versions)
            choose = lambda there: [n for n in there if n in chosen]  # noqa: E731
        elif policy.HasField("all"):
            choose = list
        elif policy.HasField("latest"):
            count = max(1, policy.latest.num_versions)
            choose = lambda there: there[-count:]  # noqa: E731
        return Source(folder, dict(config.version_labels) or None, choose)

    def _inputs(
        self, protos: Any, definition: meta_graph_pb2.SignatureDef
    ) -> dict[str, np.ndarray]:
        given, wanted = set(protos), set(definition.inputs)
        if given != wanted:
            raise invalid(
                f"input size does not match signature: {len(given)}!={len(wanted)} "
                f"len({_set(given)}) != len({_set(wanted)}). Sent extra: {_set(given - wanted)}. "
                f"Missing but required: {_set(wanted - given)}."
            )
        inputs = {
            name: to_array(name, proto, definition.inputs[name], self._config.max_request_images)
            for name, proto in protos.items()
        }
        self._check_images(inputs)
        return inputs

    def _check_count(self, images: int) -> None:
        if images > self._config.max_request_images:
            raise invalid(
                f"{images} rows; 1 to {self._config.max_request_images} are accepted at once"
            )

    def _check_images(self, inputs: dict[str, np.ndarray]) -> None:
        """Looks at images; nothing is decoded. PNGs are unpacked, as far as memory allows."""
        room = self._config.max_message_bytes
        for name, check in ((IMAGE_BYTES, _check_bytes), (EXAMPLES, _check_example)):
            values = inputs.get(name)
            if values is None or values.dtype != object:
                continue
            for i, value in enumerate(values.flat):
                try:
                    values.flat[i] = check(value, self._config.images, room)
                except BadImage as error:
                    where = f"image {i}: " if values.size > 1 else ""
                    raise invalid(where + error.reason) from None
                room -= len(values.flat[i])

    def _run(
        self,
        version: Version,
        signature: str,
        inputs: dict[str, np.ndarray],
        outputs: Sequence[str],
        call: Call,
    ) -> dict[str, np.ndarray]:
        """Queues the request, in pieces of the largest batch, and waits for the answer."""
        assert version.servable and version.batcher
        batchable = version.servable.batches(signature)
        rows = len(next(iter(inputs.values()))) if batchable else 1
        if batchable and any(len(value) != rows for value in inputs.values()):
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        largest = self._config.batching.max_batch_size
        futures: list[Future[dict[str, np.ndarray]]] = []
        call.on_cancel(lambda: [future.cancel() for future in futures])
        try:
            for start in range(0, rows, largest):
                piece = (
                    {name: value[start : start + largest] for name, value in inputs.items()}
                    if rows > largest
                    else inputs
                )
                task = Task(signature, piece, tuple(outputs), call.deadline, batchable)
                futures.append(version.batcher.submit(task))
            answers = [future.result(call.deadline - time.monotonic()) for future in futures]
        except FutureTimeout:
            raise expired() from None
        except CancelledError:
            raise StatusError(grpc.StatusCode.CANCELLED, "Cancelled by the client") from None
        finally:
            for future in futures:
                future.cancel()  # no effect on what is done
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([a[name] for a in answers]) for name in outputs}


def _require_spec(request: Message) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.model_spec.name:
        raise invalid("ModelSpec has no name specified.")


def _signature(version: Version, name: str) -> meta_graph_pb2.SignatureDef:
    assert version.servable
    definition = version.servable.signatures.get(name)
    if definition is None:
        raise StatusError(
            grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
        )
    return definition


def _outputs(wanted: Sequence[str], definition: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    there = sorted(definition.outputs)
    for i, name in enumerate(wanted):
        if name not in there:
            raise invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {{{','.join(there)}}}."
            )
        if name in wanted[:i]:
            raise invalid(f"duplicate output tensor alias: {name}")
    return tuple(sorted(wanted) or there)


def _set(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _fill_spec(spec: model_pb2.ModelSpec, version: Version, signature: str = "") -> None:
    spec.name = version.model
    spec.version.value = version.number
    spec.signature_name = signature


def _examples(given: Any) -> list[bytes]:
    """The serialized tf.Examples of a classification's Input; a context goes before each."""
    if given.HasField("example_list_with_context"):
        listed = given.example_list_with_context
        context = listed.context.SerializeToString()
        return [context + example.SerializeToString() for example in listed.examples]
    return [example.SerializeToString() for example in given.example_list.examples]


def _check_bytes(data: bytes, limits: ImageLimits, room: int) -> bytes:
    """The image as the graph gets it, which takes at most `room` bytes more."""
    check_image(data, limits)
    return unpack(data, min(room, _GRAPH_LIMITS.max_bytes))


def _check_example(serialized: bytes, limits: ImageLimits, room: int) -> bytes:
    """`serialized`, a raw or transformed tf.Example, once its image has passed the checks."""
    try:
        features = example_pb2.Example.FromString(serialized).features.feature
    except DecodeError:
        raise BadImage("not a tf.Example") from None
    for name in (IMAGE, T_IMAGE):
        for value in features[name].bytes_list.value if name in features else ():
            if name == T_IMAGE and value.startswith(_TENSOR_PROTO):
                _check_raw(value, limits)
            else:
                sides = limits if name == IMAGE else replace(limits, min_side=1)
                _check_bytes(value, sides, 0)
    return serialized


def _check_raw(serialized: bytes, limits: ImageLimits) -> None:
    """A serialized tensor can claim any size in a few bytes."""
    try:
        proto = tensor_pb2.TensorProto.FromString(serialized)
    except DecodeError:
        raise BadImage("not a serialized tensor") from None
    pixels = 1
    for dim in proto.tensor_shape.dim:
        pixels *= dim.size
    if proto.dtype != types_pb2.DT_UINT8 or not 0 <= pixels <= limits.max_side**2:
        raise BadImage("not a serialized image")
