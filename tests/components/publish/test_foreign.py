"""`cxrflow models push`: a SavedModel from elsewhere is looked at before it is copied."""

import json
import struct
from pathlib import Path

import pytest

from cxrflow.components.publish.foreign import messages, push_foreign
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.store.manifest import read_manifest, verify
from cxrflow.schema.store.versions import Labels, list_versions, read_labels, write_labels
from cxrflow.serving.client.protos import types_pb2
from tests.pipeline.command import cxrflow

CLASSES = ["Mass", "Edema"]


def saved_model(name: str = "serving_default", tag: str = "serve", **change: object) -> bytes:
    """saved_model.pb with one signature and no graph."""
    shape = {"input": "image_bytes", "kind": "DT_STRING", "output": "probabilities", "width": 2}
    shape |= change
    model = messages().saved_model.SavedModel()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append(tag)
    signature = graph.signature_def[name]
    taken, given = signature.inputs[shape["input"]], signature.outputs[shape["output"]]
    taken.dtype = types_pb2.DataType.Value(shape["kind"])
    taken.tensor_shape.dim.add(size=-1)
    given.dtype = types_pb2.DT_FLOAT
    for size in (-1, shape["width"]):
        given.tensor_shape.dim.add(size=size)
    return model.SerializeToString()


def warm_up(count: int = 1, empty: bool = False) -> bytes:
    """TFRecords; the checksums aren't looked at here, the server's TensorFlow does."""
    log = messages().prediction_log.PredictionLog()
    if not empty:
        log.predict_log.request.model_spec.name = "x"
    data = log.SerializeToString()
    return (struct.pack("<QI", len(data), 0) + data + bytes(4)) * count


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(saved_model())
    (folder / "assets.extra" / "model.json").write_text(json.dumps({"classes": CLASSES}))
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(warm_up(3))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_it_is_pushed_whole_with_its_label(model: Path, root: Path) -> None:
    ended = cxrflow("models", "push", model, "--root", root)
    (first,) = list_versions(root / "cxrflow")
    assert (ended.code, ended.out) == (0, f"cxrflow: version {first} is pushed as stable\n")
    assert ended.err == "no server of this model runs on this machine\n"
    assert verify(root / "cxrflow" / str(first)) == []
    assert read_manifest(root / "cxrflow" / str(first)).notes == {"pushed_from": str(model)}
    (model / "saved_model.pb").write_bytes(saved_model(width=-1))
    assert cxrflow("models", "push", model, "--root", root, "--label", "canary").code == 0
    second = list_versions(root / "cxrflow")[-1]
    assert read_labels(root / "cxrflow") == Labels({"stable": first, "canary": second})
    assert cxrflow("models", "list", "--root", root).code == 0


def test_a_pinned_stable_stays_and_it_is_said(model: Path, root: Path) -> None:
    first = int(push_foreign(model, root, "lungs", "stable")[0].name)
    write_labels(root / "lungs", Labels({"stable": first}, pinned=first))
    (model / "more").touch()
    ended = cxrflow("models", "push", model, "--root", root, "--name", "lungs")
    assert ended.code == 0 and ended.out.endswith(f"is pushed; stable stays on {first}\n")


@pytest.mark.parametrize(
    ("file", "data", "line"),
    [
        ("saved_model.pb", b"", "no graph tagged serve"),
        ("saved_model.pb", b"\xff" * 9, "saved_model.pb is no SavedModel"),
        ("saved_model.pb", saved_model(tag="train"), "no graph tagged serve"),
        ("saved_model.pb", saved_model(name="predict"), "no signature serving_default"),
        ("saved_model.pb", saved_model(input="image"), "doesn't take image_bytes"),
        ("saved_model.pb", saved_model(kind="DT_FLOAT"), "doesn't take image_bytes"),
        ("saved_model.pb", saved_model(output="scores"), "doesn't give probabilities"),
        ("saved_model.pb", saved_model(width=3), "3 probabilities, and .* names 2 classes"),
        ("assets.extra/model.json", b"{", "model.json is no JSON"),
        ("assets.extra/model.json", b"[]", "model.json is no JSON object"),
        ("assets.extra/model.json", b'{"format": 99, "classes": ["a"]}', "of a newer cxrflow"),
        ("assets.extra/model.json", b'{"classes": []}', 'no "classes"'),
        ("assets.extra/model.json", b'{"classes": "ab"}', 'no "classes"'),
        ("assets.extra/model.json", b'{"classes": ["a", "a"]}', "each once"),
        ("assets.extra/model.json", None, r"model.json can't be read \(No such file"),
        ("assets.extra/tf_serving_warmup_requests", b"", "holds no request"),
        ("assets.extra/tf_serving_warmup_requests", warm_up(empty=True), "holds no request"),
        ("assets.extra/tf_serving_warmup_requests", warm_up()[:-1], "is damaged"),
        ("assets.extra/tf_serving_warmup_requests", b"\xff" * 40, "is damaged"),
        ("assets.extra/tf_serving_warmup_requests", None, "answers would be slow"),
        ("saved_model.pb", None, r"saved_model.pb can't be read \(No such file"),
    ],
)
def test_what_cannot_be_served_is_not_copied(
    model: Path, root: Path, file: str, data: bytes | None, line: str
) -> None:
    (model / file).unlink() if data is None else (model / file).write_bytes(data)
    with pytest.raises(CxrflowError, match=line) as refused:
        push_foreign(model, root, "cxrflow", "stable")
    assert "\n" not in str(refused.value) and ";" not in str(refused.value)
    assert list(root.iterdir()) == []


def test_other_classes_than_those_served_are_refused(model: Path, root: Path) -> None:
    push_foreign(model, root, "cxrflow", "stable")
    (model / "assets.extra" / "model.json").write_text('{"classes": ["Edema", "Mass"]}')
    with pytest.raises(CxrflowError, match="its classes are Edema, Mass, those of the version"):
        push_foreign(model, root, "cxrflow", "canary")
    assert len(list_versions(root / "cxrflow")) == 1
    assert push_foreign(model, root, "other", "canary")


def test_where_no_server_looks_nothing_is_pushed(model: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CxrflowError, match="it is a link, which no server reads"):
        push_foreign(model, root, "linked", "stable")
