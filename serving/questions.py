"""Requests as they come, checked: what to compute, with which version.

Codes and texts follow tensorflow_serving/servables/tensorflow/{predict_util,classifier}.cc.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, model_pb2, predict_pb2

from cxrflow.serving import open_inference, rest_json
from cxrflow.serving.loading import Version
from cxrflow.serving.manager import Manager
from cxrflow.serving.request_images import check_images
from cxrflow.serving.servable import DEFAULT_SIGNATURE, EXAMPLES
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.status import StatusError, invalid
from cxrflow.serving.tensors import to_array, to_proto, to_strings

_CLASSIFY = "tensorflow/serving/classify"
_PARSED = 8  # bytes that one byte of a tf.Example's numbers takes when it is parsed


@dataclass(frozen=True)
class Question:
    """A checked request: what to compute, with which version."""

    version: Version
    signature: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]


class SignatureError(StatusError):
    """There is no such signature."""

    def __init__(self, name: str):
        super().__init__(
            grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
        )
        self.name = name


class Questions:
    """Reads and checks requests. Every method raises StatusError, before anything is decoded.

    `leases` keeps the version that a question names in memory until it is closed.
    """

    def __init__(self, manager: Manager, config: ServerConfig):
        self._manager, self._config = manager, config
        self._most = rest_json.Most(
            config.max_json_values,
            config.max_json_lists,
            config.max_json_names,
            config.max_request_images,
        )

    def predict(self, request: predict_pb2.PredictRequest, leases: ExitStack) -> Question:
        """PredictionService.Predict."""
        require_spec(request)
        version, name, definition = self._find(request.model_spec, DEFAULT_SIGNATURE, leases)
        outputs = _outputs(request.output_filter, definition)
        return Question(version, name, self._inputs(request.inputs, definition), outputs)

    def predict_json(
        self, spec: model_pb2.ModelSpec, body: bytes, leases: ExitStack
    ) -> tuple[Question, bool]:
        """REST's :predict; and whether it is asked, and so answered, by row."""
        asked = rest_json.parse_predict(body, self._most)
        spec.signature_name = asked.signature or DEFAULT_SIGNATURE
        try:
            version, name, definition = self._find(spec, DEFAULT_SIGNATURE, leases)
        except SignatureError as error:
            raise invalid(
                f'Serving signature name: "{error.name}" not found in signature def'
            ) from None
        arrays = rest_json.to_arrays(asked, definition, self._config.max_request_images)
        inputs = self._from_json(arrays, definition)
        return Question(version, name, inputs, _outputs((), definition)), asked.by_row

    def classify(
        self, request: classification_pb2.ClassificationRequest, leases: ExitStack
    ) -> Question:
        """PredictionService.Classify."""
        require_spec(request)
        given = request.input
        if given.HasField("example_list_with_context"):
            listed = given.example_list_with_context
            return self._classification(request.model_spec, listed.context, listed.examples, leases)
        examples = given.example_list.examples
        return self._classification(request.model_spec, Example(), examples, leases)

    def classify_json(self, spec: model_pb2.ModelSpec, body: bytes, leases: ExitStack) -> Question:
        """REST's :classify."""
        spec.signature_name, context, examples = rest_json.parse_classify(body, self._most)
        return self._classification(spec, context, examples, leases)

    def infer_json(
        self, spec: model_pb2.ModelSpec, body: bytes, leases: ExitStack
    ) -> tuple[Question, Any]:
        """The Open Inference Protocol's infer, with the default signature; and its id."""
        asked = rest_json.parse(body, self._most)
        version, name, definition = self._find(spec, DEFAULT_SIGNATURE, leases)
        arrays, wanted = open_inference.parse_infer(asked, definition)
        inputs = self._from_json(arrays, definition)
        return Question(version, name, inputs, _outputs(wanted, definition)), asked.get("id")

    def _find(
        self, spec: model_pb2.ModelSpec, default: str, leases: ExitStack
    ) -> tuple[Version, str, meta_graph_pb2.SignatureDef]:
        """The version, its signature's name and what that takes."""
        _require_name(spec)
        version = leases.enter_context(self._manager.lease(spec))
        name = spec.signature_name or default
        return version, name, signature_of(version, name)

    def _classification(
        self,
        spec: model_pb2.ModelSpec,
        context: Example,
        examples: Sequence[Example],
        leases: ExitStack,
    ) -> Question:
        """`context` goes before each of the examples."""
        try:
            version, name, definition = self._find(spec, EXAMPLES, leases)
        except SignatureError as error:
            raise invalid(f"No signature was found with the name: {error.name}") from None
        if name != EXAMPLES or not version.classes or "probabilities" not in definition.outputs:
            raise invalid(
                f"Expected classification signature method_name to be {_CLASSIFY}. "
                f"Was: {definition.method_name}; use Predict, or the signature {EXAMPLES}"
            )
        if not examples:
            raise invalid("Input is empty.")
        inputs = {EXAMPLES: to_strings(self._with_context(context, examples))}
        check_images(inputs, self._config)
        return Question(version, name, inputs, ("probabilities",))

    def _from_json(
        self, arrays: dict[str, np.ndarray], definition: meta_graph_pb2.SignatureDef
    ) -> dict[str, np.ndarray]:
        """Checks arrays of a JSON body as those that come over gRPC."""
        return self._inputs({key: to_proto(value) for key, value in arrays.items()}, definition)

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
            name: to_array(
                name,
                proto,
                definition.inputs[name],
                self._config.max_request_images,
                self._config.max_input_bytes,
            )
            for name, proto in protos.items()
        }
        check_images(inputs, self._config)
        return inputs

    def _with_context(self, context: Example, examples: Sequence[Example]) -> list[bytes]:
        """Serialized examples; where both name a feature, the example's counts."""
        most = self._config.max_request_images
        most_bytes = self._config.max_message_bytes // _PARSED
        if len(examples) > most:
            raise invalid(f"{len(examples)} rows; 1 to {most} are accepted at once")
        if len(examples) * context.ByteSize() > most_bytes:
            raise StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the context, once an example, has more than {most_bytes} bytes",
                413,
            )
        before = context.SerializeToString()
        merged = [Example.FromString(before + e.SerializeToString()) for e in examples]
        return [each.SerializeToString() for each in merged]


def require_spec(request: Message) -> None:
    """Raises StatusError for a request that names no model."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    _require_name(request.model_spec)


def _require_name(spec: model_pb2.ModelSpec) -> None:
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")


def signature_of(version: Version, name: str) -> meta_graph_pb2.SignatureDef:
    """A signature of a loaded version. Raises SignatureError."""
    assert version.servable
    definition = version.servable.signatures.get(name)
    if definition is None:
        raise SignatureError(name)
    return definition


def fill_spec(spec: model_pb2.ModelSpec, version: Version, signature: str = "") -> None:
    """Says in an answer who gave it."""
    spec.name = version.model
    spec.version.value = version.number
    spec.signature_name = signature


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
