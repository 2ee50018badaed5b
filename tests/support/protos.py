"""Writes serving/client/protos.json: the messages of tensorflow-serving-api that the client uses.

python -m tests.support.protos
"""

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.json_format import MessageToDict

from cxrflow.serving.client import own_protos
from tests.support import serving_protos as protos

_WELL_KNOWN = "google/protobuf/"


def described() -> dict[str, Any]:
    """A FileDescriptorSet, as JSON, of the client's messages and of all that they refer to."""
    roots = [
        protos.predict_pb2.PredictRequest,
        protos.predict_pb2.PredictResponse,
        protos.get_model_metadata_pb2.GetModelMetadataRequest,
        protos.get_model_metadata_pb2.GetModelMetadataResponse,
        protos.get_model_metadata_pb2.SignatureDefMap,
        protos.get_model_status_pb2.GetModelStatusRequest,
        protos.get_model_status_pb2.GetModelStatusResponse,
    ]
    wanted: dict[str, Any] = {}
    for root in roots:
        _collect(root.DESCRIPTOR, wanted)
    by_file: dict[str, set[str]] = {}
    files = {}
    for name, found in wanted.items():
        by_file.setdefault(found.file.name, set()).add(name)
        files[found.file.name] = found.file
    trimmed = {}
    for name, names in by_file.items():
        whole = descriptor_pb2.FileDescriptorProto()
        files[name].CopyToProto(whole)
        trimmed[name] = descriptor_pb2.FileDescriptorProto(
            name=name,
            package=whole.package,
            syntax=whole.syntax,
            message_type=[m for m in whole.message_type if m.name in names],
            enum_type=[e for e in whole.enum_type if e.name in names],
            # Of the files that define these, not of those that only import them for others.
            dependency=sorted(
                {r.file.name for n in names for r in _references(wanted[n])} - {name}
            ),
        )
    ordered: dict[str, Any] = {}
    for name in sorted(trimmed):
        _order(name, trimmed, ordered)
    return MessageToDict(descriptor_pb2.FileDescriptorSet(file=ordered.values()))


def _collect(found: Any, wanted: dict[str, Any]) -> None:
    """Adds a message or enum, by its outermost name, and what its fields refer to."""
    if found.file.name.startswith(_WELL_KNOWN):
        return
    while found.containing_type is not None:
        found = found.containing_type
    if found.name in wanted:
        return
    wanted[found.name] = found
    for referred in _references(found):
        _collect(referred, wanted)


def _references(message: Any) -> Iterator[Any]:
    for field in getattr(message, "fields", ()):
        if field.message_type is not None:
            yield field.message_type
        if field.enum_type is not None:
            yield field.enum_type
    for nested in getattr(message, "nested_types", ()):
        yield from _references(nested)


def _order(name: str, files: dict[str, Any], ordered: dict[str, Any]) -> None:
    """Adds a file after those that it depends on."""
    if name in ordered or name not in files:
        return
    for dependency in files[name].dependency:
        _order(dependency, files, ordered)
    ordered[name] = files[name]


if __name__ == "__main__":
    text = json.dumps(described(), indent=1)
    own_protos.PROTOS.write_text(text + "\n", encoding="utf-8")
