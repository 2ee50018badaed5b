"""The client's own messages are those of tensorflow-serving-api."""

import json

from cxrflow.serving.client import own_protos
from tests.support import serving_protos as protos
from tests.support.protos import described


def test_they_are_those_of_the_installed_package() -> None:
    said = "python -m tests.support.protos writes it anew"
    assert json.loads(own_protos.PROTOS.read_text("utf-8")) == described(), said


def test_the_same_bytes_are_read_and_written() -> None:
    own = own_protos.load()
    assert set(own) >= set(protos.__all__)
    requests = []
    for modules in (own, vars(protos)):
        request = modules["predict_pb2"].PredictRequest(output_filter=["probabilities"])
        request.model_spec.name = "cxrflow"
        request.model_spec.version.value = 7
        value = request.inputs["image_bytes"]
        value.dtype = modules["types_pb2"].DT_STRING
        value.tensor_shape.dim.add(size=1)
        value.string_val.append(b"PNG")
        requests.append(request)
    assert requests[0].SerializeToString() == requests[1].SerializeToString()
    text = requests[1].SerializeToString()
    assert own["predict_pb2"].PredictRequest.FromString(text) == requests[0]
    assert own["types_pb2"].DataType.Value("DT_FLOAT") == protos.types_pb2.DT_FLOAT == 1
    theirs = protos.get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert theirs == own["get_model_status_pb2"].ModelVersionStatus.AVAILABLE
