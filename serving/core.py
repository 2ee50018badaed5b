"""What requests ask for, whichever way they come: the semantics of TF Serving.

Codes and texts follow tensorflow_serving/servables/tensorflow/{predict_util,classifier}.cc,
model_servers/{server_core,get_model_status_impl}.cc and core/basic_manager.cc. Three things differ:
a request that names neither version nor label gets the stable version, where TF Serving takes the
highest one loaded, so that a canary sees only requests that ask for it; Classify is answered (see
`Core.classify`), where TF Serving refuses signatures that weren't exported for it; and
GetModelMetadata knows the field model.json.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from cxrflow.serving import open_inference, rest_json
from cxrflow.serving.asked import (
    SignatureError,
    fill_spec,
    find_outputs,
    find_signature,
    require_name,
    require_spec,
)
from cxrflow.serving.batching import Task, expired
from cxrflow.serving.loading import Version
from cxrflow.serving.manager import Manager
from cxrflow.serving.places import Places
from cxrflow.serving.reload import sources
from cxrflow.serving.request_images import check_images
from cxrflow.serving.servable import DEFAULT_SIGNATURE, EXAMPLES
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.status import invalid, not_found
from cxrflow.serving.tensors import to_array, to_proto

_METADATA = "signature_def"
# Ours: assets.extra/model.json as a StringValue, for clients to name classes by.
_MODEL_JSON = "model.json"
_CLASSIFY = "tensorflow/serving/classify"


T = TypeVar("T")


@dataclass
class Call:
    """How long a request may take. A client that goes cancels the coroutine that answers it."""

    deadline: float  # of time.monotonic
    version: int | None = None  # that answers, once it is known


@dataclass(frozen=True)
class _Question:
    """A checked request: what to compute, with which version."""

    version: Version
    signature: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]


Values = dict[str, np.ndarray]


class Core:
    """Answers requests with the models of a Manager. Every method raises StatusError.

    The coroutines run on the event loop and leave it for whatever takes long: parsing and checking
    to a few threads, the model to its own.
    """

    def __init__(self, manager: Manager, config: ServerConfig):
        self.manager, self._config = manager, config
        batching = config.batching
        most = batching.max_queue + batching.threads * batching.max_batch_size
        self.places = Places(most, config.refusal_pause)
        self._pool = ThreadPoolExecutor(max(4, os.cpu_count() or 1), thread_name_prefix="checks")

    def close(self) -> None:
        """Ends the threads that check requests; none may be under way."""
        self._pool.shutdown()

    async def predict(self, read: Callable[[], predict_pb2.PredictRequest], call: Call) -> Message:
        """PredictionService.Predict; `read` parses the request."""

        def ask(leases: ExitStack) -> _Question:
            request = read()
            require_spec(request)
            version, name, definition = self._find(request.model_spec, DEFAULT_SIGNATURE, leases)
            outputs = find_outputs(request.output_filter, definition)
            return _Question(version, name, self._inputs(request.inputs, definition), outputs)

        def answer(question: _Question, values: Values) -> Message:
            response = predict_pb2.PredictResponse()
            fill_spec(response.model_spec, question.version, question.signature)
            for output, value in values.items():
                response.outputs[output].CopyFrom(to_proto(value))
            return response

        return await self._answered(ask, answer, call)

    async def predict_json(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> bytes:
        """REST's :predict; the body that answers another one."""
        by_row = False

        def ask(leases: ExitStack) -> _Question:
            nonlocal by_row
            asked = rest_json.parse_predict(body, self._config.max_json_values)
            by_row = asked.by_row
            spec.signature_name = asked.signature or DEFAULT_SIGNATURE
            try:
                version, name, definition = self._find(spec, DEFAULT_SIGNATURE, leases)
            except SignatureError as error:
                raise invalid(
                    f'Serving signature name: "{error.name}" not found in signature def'
                ) from None
            arrays = rest_json.to_arrays(asked, definition, self._config.max_request_images)
            protos = {key: to_proto(value) for key, value in arrays.items()}
            inputs = self._inputs(protos, definition)
            return _Question(version, name, inputs, find_outputs((), definition))

        return await self._answered(
            ask, lambda _, values: rest_json.from_outputs(values, by_row), call
        )

    async def classify(
        self, read: Callable[[], classification_pb2.ClassificationRequest], call: Call
    ) -> Message:
        """PredictionService.Classify: raw tf.Examples through the signature `examples`.

        Scores are its probabilities, labels the classes of assets.extra/model.json. The signature
        may be left out. `read` parses the request.
        """

        def ask(leases: ExitStack) -> _Question:
            request = read()
            require_spec(request)
            return self._classification(request.model_spec, _examples(request.input), leases)

        def answer(question: _Question, values: Values) -> Message:
            response = classification_pb2.ClassificationResponse()
            fill_spec(response.model_spec, question.version, question.signature)
            for row in _named_scores(question, values):
                found = response.result.classifications.add()
                for label, score in row:
                    found.classes.add(label=label, score=score)
            return response

        return await self._answered(ask, answer, call)

    async def classify_json(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> bytes:
        """REST's :classify."""

        def ask(leases: ExitStack) -> _Question:
            name, examples = rest_json.parse_classify(body, self._config.max_json_values)
            spec.signature_name = name
            serialized = [example.SerializeToString() for example in examples]
            return self._classification(spec, serialized, leases)

        return await self._answered(
            ask, lambda q, values: rest_json.from_classes(_named_scores(q, values)), call
        )

    async def infer_json(self, spec: model_pb2.ModelSpec, body: bytes, call: Call) -> bytes:
        """The Open Inference Protocol's infer, with the default signature."""
        request_id = None

        def ask(leases: ExitStack) -> _Question:
            nonlocal request_id
            asked = rest_json.parse(body, self._config.max_json_values)
            request_id = asked.get("id")
            version, name, definition = self._find(spec, DEFAULT_SIGNATURE, leases)
            arrays, wanted = open_inference.parse_infer(asked, definition)
            protos = {key: to_proto(value) for key, value in arrays.items()}
            inputs = self._inputs(protos, definition)
            return _Question(version, name, inputs, find_outputs(wanted, definition))

        def answer(question: _Question, values: Values) -> bytes:
            answered = model_pb2.ModelSpec()
            fill_spec(answered, question.version)
            return rest_json.dump(open_inference.infer_response(answered, request_id, values))

        return await self._answered(ask, answer, call)

    def open_metadata(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        """The Open Inference Protocol's metadata of a model."""
        with self.manager.lease(spec) as version:
            definition = find_signature(version, DEFAULT_SIGNATURE)
            versions = [n for n, v in self.manager.statuses(spec.name).items() if v.servable]
            return open_inference.model_metadata(spec.name, sorted(versions), definition)

    async def _answered(
        self,
        ask: Callable[[ExitStack], _Question],
        answer: Callable[[_Question, Values], T],
        call: Call,
    ) -> T:
        """Checks, computes and answers, with one of the places and a lease of the version."""
        await self.places.require()
        with self.places.take(), ExitStack() as leases:
            question = await self._in_thread(ask, leases)
            call.version = question.version.number
            return answer(question, await self._run(question, call))

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Runs `work` in one of the checking threads; if cancelled, only once it has ended."""
        future = self._pool.submit(work, *args)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait({waiting})
            raise

    def _find(
        self, spec: model_pb2.ModelSpec, default: str, leases: ExitStack
    ) -> tuple[Version, str, meta_graph_pb2.SignatureDef]:
        """The version, its signature's name and what that takes."""
        require_name(spec)
        version = leases.enter_context(self.manager.lease(spec))
        name = spec.signature_name or default
        return version, name, find_signature(version, name)

    def _classification(
        self, spec: model_pb2.ModelSpec, serialized: list[bytes], leases: ExitStack
    ) -> _Question:
        try:
            version, name, definition = self._find(spec, EXAMPLES, leases)
        except SignatureError as error:
            raise invalid(f"No signature was found with the name: {error.name}") from None
        if name != EXAMPLES or not version.classes or "probabilities" not in definition.outputs:
            raise invalid(
                f"Expected classification signature method_name to be {_CLASSIFY}. "
                f"Was: {definition.method_name}; use Predict, or the signature {EXAMPLES}"
            )
        if not serialized:
            raise invalid("Input is empty.")
        self._check_count(len(serialized))
        inputs = {EXAMPLES: np.array(serialized, object)}
        check_images(inputs, self._config)
        return _Question(version, name, inputs, ("probabilities",))

    def metadata(self, request: get_model_metadata_pb2.GetModelMetadataRequest) -> Message:
        """PredictionService.GetModelMetadata."""
        require_spec(request)
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
            fill_spec(response.model_spec, version)
            info = wrappers_pb2.StringValue(value=version.info)
        for field, value in ((_METADATA, signatures), (_MODEL_JSON, info)):
            if field in request.metadata_field:
                response.metadata[field].Pack(value)
        return response

    def status(self, request: get_model_status_pb2.GetModelStatusRequest) -> Message:
        """ModelService.GetModelStatus."""
        require_spec(request)
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
        """ModelService.HandleReloadConfigRequest; waits until the models are loaded."""
        self.manager.configure(sources(request, self.manager.root))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # OK
        return response

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
        check_images(inputs, self._config)
        return inputs

    def _check_count(self, images: int) -> None:
        if images > self._config.max_request_images:
            raise invalid(
                f"{images} rows; 1 to {self._config.max_request_images} are accepted at once"
            )

    async def _run(self, question: _Question, call: Call) -> Values:
        """Queues the request, in pieces of the largest batch, and waits for the answer."""
        version, inputs = question.version, question.inputs
        assert version.servable and version.batcher
        batchable = version.servable.batches(question.signature)
        rows = len(next(iter(inputs.values()))) if batchable else 1
        if batchable and any(len(value) != rows for value in inputs.values()):
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        largest = self._config.batching.max_batch_size
        futures = []
        try:
            for start in range(0, rows, largest):
                piece = (
                    {name: value[start : start + largest] for name, value in inputs.items()}
                    if rows > largest
                    else inputs
                )
                task = Task(question.signature, piece, question.outputs, call.deadline, batchable)
                futures.append(asyncio.wrap_future(version.batcher.submit(task)))
            left = call.deadline - time.monotonic()
            answers = await asyncio.wait_for(asyncio.gather(*futures), left)
        except asyncio.TimeoutError:
            raise expired() from None
        finally:
            for future in futures:
                future.cancel()  # no effect on what is done
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([a[name] for a in answers]) for name in question.outputs}


def _named_scores(question: _Question, values: Values) -> list[list[tuple[str, float]]]:
    rows = values["probabilities"].tolist()
    return [list(zip(question.version.classes, row, strict=True)) for row in rows]


def _set(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _examples(given: Any) -> list[bytes]:
    """The serialized tf.Examples of a classification's Input; a context goes before each."""
    if given.HasField("example_list_with_context"):
        listed = given.example_list_with_context
        context = listed.context.SerializeToString()
        return [context + example.SerializeToString() for example in listed.examples]
    return [example.SerializeToString() for example in given.example_list.examples]
