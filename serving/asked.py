"""What a request names: the model, a signature and outputs; refused in TF Serving's words."""

from collections.abc import Sequence

import grpc
from google.protobuf.message import Message
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import model_pb2

from cxrflow.serving.loading import Version
from cxrflow.serving.status import StatusError, invalid


class SignatureError(StatusError):
    """There is no such signature."""

    def __init__(self, name: str):
        super().__init__(
            grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
        )
        self.name = name


def require_spec(request: Message) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    require_name(request.model_spec)


def require_name(spec: model_pb2.ModelSpec) -> None:
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")


def find_signature(version: Version, name: str) -> meta_graph_pb2.SignatureDef:
    assert version.servable
    definition = version.servable.signatures.get(name)
    if definition is None:
        raise SignatureError(name)
    return definition


def find_outputs(wanted: Sequence[str], definition: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
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


def fill_spec(spec: model_pb2.ModelSpec, version: Version, signature: str = "") -> None:
    spec.name = version.model
    spec.version.value = version.number
    spec.signature_name = signature
