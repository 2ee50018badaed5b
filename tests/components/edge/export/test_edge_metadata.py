"""Metadata as a generic tool reads it: tables by the schema's field numbers, labels by zipfile."""

import io
import zipfile

import flatbuffers
import numpy as np
import pytest
from flatbuffers import number_types
from flatbuffers.table import Table

from cxrflow.schema.model_json import ModelJson

pytestmark = pytest.mark.tf

INFO = ModelJson(
    name="small",
    classes=("Mass", "Pleural_Thickening", "Hernia"),
    image_size=32,
    code="c1",
    data="d1",
    synthetic=True,
)


@pytest.fixture(scope="module")
def model() -> bytes:
    """A network of nothing but means."""
    import tensorflow as tf

    spec = tf.TensorSpec([1, 32, 32, 3], tf.float32, "image")
    function = tf.function(
        lambda image: tf.sigmoid(tf.reduce_mean(image, [1, 2]) / 100.0 - 1.0),
        input_signature=[spec],
    )
    concrete = function.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()


@pytest.fixture(scope="module")
def described(model) -> bytes:
    from cxrflow.components.edge.export.metadata import with_metadata

    return with_metadata(model, INFO, "litert_fp32")


class Reader:
    """Fields of a flatbuffer's table, by number."""

    def __init__(self, table: Table):
        self.table = table

    @classmethod
    def of(cls, content: bytes) -> "Reader":
        start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)
        return cls(Table(bytearray(content), start))

    def _at(self, field: int) -> int:
        offset = self.table.Offset(4 + 2 * field)
        assert offset, f"field {field} is missing"
        return offset + self.table.Pos

    def text(self, field: int) -> str:
        return self.table.String(self._at(field)).decode()

    def number(self, field: int, kind: type = number_types.Uint8Flags) -> int:
        return self.table.Get(kind, self._at(field))

    def below(self, field: int) -> "Reader":
        at = self._at(field)
        return Reader(Table(self.table.Bytes, self.table.Indirect(at)))

    def only(self, field: int) -> "Reader":
        offset = self.table.Offset(4 + 2 * field)
        assert self.table.VectorLen(offset) == 1
        start = self.table.Vector(offset)
        return Reader(Table(self.table.Bytes, self.table.Indirect(start)))

    def floats(self, field: int) -> list[float]:
        offset = self.table.Offset(4 + 2 * field)
        return self.table.GetVectorAsNumpy(number_types.Float32Flags, offset).tolist()


@pytest.fixture(scope="module")
def metadata(described) -> Reader:
    from cxrflow.components.edge.export.flatbuffer import read

    parsed = read(described)
    (entry,) = [one for one in parsed.metadata if one.name == b"TFLITE_METADATA"]
    content = bytes(parsed.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    return Reader.of(content)


def test_the_model_is_named_described_and_licensed(metadata):
    assert metadata.text(0) == "cxrflow small"
    assert "litert_fp32" in metadata.text(1) and "Not a medical device" in metadata.text(1)
    assert "synthetic" in metadata.text(1)
    assert metadata.text(2) == "code c1, data d1"
    assert (metadata.text(4), metadata.text(5)) == ("cxrflow", "Apache-2.0")
    assert metadata.text(7) == "1.0.0"


def test_the_input_says_how_it_is_normalized(metadata):
    image = metadata.only(3).only(2)
    assert image.text(0) == "image"
    assert "32 x 32 pixels, 0 to 255" in image.text(1)
    content = image.below(3)
    assert content.number(0) == 2  # ImageProperties
    assert content.below(1).number(0) == 1  # RGB
    sides = content.below(1).below(1)
    assert [sides.number(i, number_types.Uint32Flags) for i in (0, 1)] == [32, 32]
    unit = image.only(4)
    assert unit.number(0) == 1  # NormalizationOptions
    assert (unit.below(1).floats(0), unit.below(1).floats(1)) == ([0.0], [1.0])
    assert (image.below(5).floats(0), image.below(5).floats(1)) == ([255.0], [0.0])


def test_the_output_names_its_labels_which_are_in_the_zip(metadata, described):
    scores = metadata.only(3).only(3)
    assert scores.text(0) == "probability"
    file = scores.only(6)
    assert file.number(2) == 2  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(io.BytesIO(described)) as packed:
        (entry,) = packed.infolist()
        assert entry.filename == file.text(0) == "labels.txt"
        assert entry.compress_type == zipfile.ZIP_STORED
        assert packed.read(entry).decode().splitlines() == list(INFO.classes)


def test_the_file_runs_as_before_and_is_the_same_each_time(model, described):
    from cxrflow.components.edge.export.litert import run
    from cxrflow.components.edge.export.metadata import with_metadata

    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    assert (run(described, pixels) == run(model, pixels)).all()
    assert with_metadata(model, INFO, "litert_fp32") == described
