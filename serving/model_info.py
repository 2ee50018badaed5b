"""What is told of models without asking them: signatures, classes, states of versions.

Codes and texts follow tensorflow_serving/model_servers/get_model_status_impl.cc and
servables/tensorflow/get_model_metadata_impl.cc; GetModelMetadata also knows the fields model.json
and manifest.sha256.
"""

from typing import Any

import grpc
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
)

from cxrflow.serving import open_inference
from cxrflow.serving.manager import Manager
from cxrflow.serving.questions import fill_spec, require_spec, signature_of
from cxrflow.serving.reload import sources
from cxrflow.serving.servable import DEFAULT_SIGNATURE
from cxrflow.serving.status import invalid, not_found

_METADATA = "signature_def"
# Ours: assets.extra/model.json as a StringValue, for clients to name classes by.
_MODEL_JSON = "model.json"
# Ours: the SHA-256 of the version's manifest.json as a StringValue, for logs of who answered.
_DIGEST = "manifest.sha256"


def metadata(manager: Manager, request: get_model_metadata_pb2.GetModelMetadataRequest) -> Message:
    """PredictionService.GetModelMetadata. Raises StatusError."""
    require_spec(request)
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field not in (_METADATA, _MODEL_JSON, _DIGEST):
            raise invalid(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    with manager.lease(request.model_spec) as version:
        assert version.servable
        for name, definition in version.servable.signatures.items():
            signatures.signature_def[name].CopyFrom(definition)
        fill_spec(response.model_spec, version)
        info = wrappers_pb2.StringValue(value=version.info)
        digest = wrappers_pb2.StringValue(value=version.digest)
    for field, value in ((_METADATA, signatures), (_MODEL_JSON, info), (_DIGEST, digest)):
        if field in request.metadata_field:
            response.metadata[field].Pack(value)
    return response


def status(manager: Manager, request: get_model_status_pb2.GetModelStatusRequest) -> Message:
    """ModelService.GetModelStatus. Raises StatusError."""
    require_spec(request)
    spec = request.model_spec
    versions = manager.statuses(spec.name)
    choice = spec.WhichOneof("version_choice")
    if choice:
        number = (
            manager.labelled(spec.name, spec.version_label)
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


def open_metadata(manager: Manager, spec: model_pb2.ModelSpec) -> dict[str, Any]:
    """The Open Inference Protocol's metadata of a model. Raises StatusError."""
    with manager.lease(spec) as version:
        definition = signature_of(version, DEFAULT_SIGNATURE)
        versions = [n for n, v in manager.statuses(spec.name).items() if v.servable]
        return open_inference.model_metadata(spec.name, sorted(versions), definition)


def reload(manager: Manager, request: model_management_pb2.ReloadConfigRequest) -> Message:
    """ModelService.HandleReloadConfigRequest; waits until the models are loaded.

    Raises StatusError.
    """
    manager.configure(sources(request, manager.root))
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()  # OK
    return response
