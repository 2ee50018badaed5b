"""A gRPC server that answers as ours does, without TensorFlow: probabilities of one's choice."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.protobuf import wrappers_pb2

from cxrflow.serving.client.diagnose import MODELS_KEY
from tests.support.serving_protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

CLASSES = ("Mass", "Edema", "Hernia", "Nodule", "Fibrosis", "Effusion")
THRESHOLDS = (0.5, 0.2, 0.01, 0.4, 0.1, 0.6)
PROBABILITIES = (0.45, 0.3, 0.02, 0.1, 0.099, 0.3)
INFO = {
    "classes": CLASSES,
    "thresholds": {
        name: {"youden": {"threshold": t}}
        for name, t in zip(CLASSES, THRESHOLDS, strict=True)
    },
}  # fmt: skip


class Answering(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Has the model cxrflow, version 7; gives every image the same probabilities."""

    def __init__(self, probabilities: Sequence[float] = PROBABILITIES, tells: bool = True):
        """`tells`: model.json and the models' names, as only our own server does."""
        self.probabilities, self.tells = probabilities, tells
        self.classes = CLASSES[: len(probabilities)]

    def Predict(self, request, context):
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 7
        value = response.outputs["probabilities"]
        value.dtype = 1
        for size in (1, len(self.probabilities)):
            value.tensor_shape.dim.add(size=size)
        value.float_val.extend(self.probabilities)
        return response

    def GetModelMetadata(self, request, context):
        if self.tells:
            context.set_trailing_metadata([(MODELS_KEY, json.dumps(["cxrflow", "lungs"]))])
        spec = request.model_spec
        if spec.name != "cxrflow" or spec.version.value not in (0, 7):
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(x)")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = 7
        if "signature_def" in request.metadata_field:
            signatures = get_model_metadata_pb2.SignatureDefMap()
            outputs = signatures.signature_def["serving_default"].outputs
            outputs["probabilities"].dtype = 1
            response.metadata["signature_def"].Pack(signatures)
        elif self.tells:
            info = {**INFO, "classes": self.classes} if len(self.classes) < len(CLASSES) else INFO
            text = wrappers_pb2.StringValue(value=json.dumps(info))
            response.metadata["model.json"].Pack(text)
        else:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Metadata field is not supported")
        return response

    def GetModelStatus(self, request, context):
        if request.model_spec.name != "cxrflow":
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model x")
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(
            version=7, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE
        )
        return response


@contextmanager
def answering(
    servicer: Answering | None = None,
    host: str = "127.0.0.1",
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[str]:
    """Yields the address of a server that answers inside the block."""
    servicer = servicer or Answering()
    server = grpc.server(ThreadPoolExecutor(8))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    if credentials:
        port = server.add_secure_port(f"{host}:0", credentials)
    else:
        port = server.add_insecure_port(f"{host}:0")
    server.start()
    try:
        yield f"{host}:{port}"
    finally:
        server.stop(None)
