"""One version in memory: what is warm once it is loaded, and what its errors say."""

import grpc
import numpy as np
import pytest

from cxrflow.schema.portable.image_rules import DAMAGED
from cxrflow.serving.status import from_tensorflow
from tests.serving.tiny import gray_png


@pytest.mark.tf
def test_no_request_is_the_first_of_its_kind(tiny_models, monkeypatch) -> None:
    from cxrflow.serving.servable import Servable, _as_examples

    servable = Servable(tiny_models[0.25])
    servable.warm_up(tiny_models[0.25], [2, 4], 2**28)

    def make_callable(*_: object) -> None:
        raise AssertionError("another graph, which takes seconds to optimize")

    monkeypatch.setattr(servable._session, "make_callable", make_callable)
    images = np.array([gray_png(51)], object)
    for outputs in (("probabilities",), ("logits",), ("logits", "probabilities")):
        found = servable.run("serving_default", {"image_bytes": images}, outputs)
        assert tuple(found) == outputs
    inputs = {"examples": _as_examples(images)}
    (probabilities,) = servable.run("examples", inputs, ("probabilities",)).values()
    assert probabilities == pytest.approx(np.array([[0.2, 0.25]]), abs=1e-6)
    servable.close()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            "Graph execution error:\n\nassertion failed: [image 0: empty]\n\t [[{{node Assert}}]]",
            "image 0: empty",
        ),
        (
            "Graph execution error:\n\nInvalid PNG data, size 437\n\t "
            "[[{{node map/while/switch_case/indexed_case/DecodePng}}]]",
            DAMAGED,
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT: Invalid PNG data\n\t "
            "[[{{node while/DecodePng}}]]\n  (1) CANCELLED: x",
            DAMAGED,
        ),
        ("2 root error(s) found.\n  (0) INVALID_ARGUMENT: no\n  (1) CANCELLED: x", "no"),
        (
            "Could not parse example input\n\t [[{{node ParseExample}}]]",
            "Could not parse example input",
        ),
    ],
)
def test_errors_are_one_line_without_nodes(message: str, text: str) -> None:
    error = from_tensorflow(3, message)
    assert (error.code, str(error)) == (grpc.StatusCode.INVALID_ARGUMENT, text)
