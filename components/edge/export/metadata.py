"""TFLite model metadata: what generic tools show of a .tflite file, labels among it.

The layout is that of metadata_schema.fbs, https://github.com/tensorflow/tflite-support, whose own
writer has no wheels for this Python. Numbers below are the places of fields in its tables.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np

from cxrflow.components.edge.export.flatbuffer import read, write
from cxrflow.components.private_api import BufferT, MetadataT
from cxrflow.schema.model_json import ModelJson

LABELS = "labels.txt"
LICENSE = "Apache-2.0"  # the project's
_ENTRY, _IDENTIFIER, _PARSER = b"TFLITE_METADATA", b"M001", "1.0.0"
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_FEATURE, _IMAGE = 1, 2  # of the union ContentProperties
_NORMALIZATION = 1  # of the union ProcessUnitOptions
_RGB = 1  # ColorSpaceType
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same model is the same file


def with_metadata(model: bytes, info: ModelJson, variant: str) -> bytes:
    """A LiteRT file with its description inside and a zip of its labels, a line each, at its end.

    Args:
        model: the file.
        info: of the model it was made from.
        variant: its name in the bundle.
    """
    parsed = read(model)
    buffer, entry = BufferT(), MetadataT()
    buffer.data = np.frombuffer(_metadata(info, variant), np.uint8)
    entry.name, entry.buffer = _ENTRY, len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [one for one in parsed.metadata or [] if one.name != _ENTRY] + [entry]
    file = io.BytesIO()
    file.write(write(parsed))
    with zipfile.ZipFile(file, "a") as packed:  # stored, as Android's reader demands
        packed.writestr(zipfile.ZipInfo(LABELS, _EPOCH), "\n".join(info.classes) + "\n")
    return file.getvalue()


def _metadata(info: ModelJson, variant: str) -> bytes:
    size = info.image_size
    about = f"{variant} of the chest X-ray model {info.name}. Not a medical device."
    if info.synthetic:
        about += " Trained on synthetic X-rays: its answers say nothing about real ones."
    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        9,
        {2: _vector(builder, [_image(builder, size)]), 3: _vector(builder, [_scores(builder)])},
    )
    texts = {
        0: f"cxrflow {info.name}",
        1: about,
        2: f"code {info.code}, data {info.data}",
        4: "cxrflow",
        5: LICENSE,
        7: _PARSER,
    }
    model = _table(builder, 8, {**_strings(builder, texts), 3: _vector(builder, [subgraph])})
    builder.Finish(model, _IDENTIFIER)
    return bytes(builder.Output())


def _image(builder: flatbuffers.Builder, size: int) -> int:
    """TensorMetadata of the input."""
    builder.StartObject(2)
    builder.PrependUint32Slot(0, size, 0)
    builder.PrependUint32Slot(1, size, 0)
    sides = builder.EndObject()
    properties = _table(builder, 2, {1: sides}, {0: _RGB})
    content = _table(builder, 3, {1: properties}, {0: _IMAGE})
    mean, std = (builder.CreateNumpyVector(np.array([x], np.float32)) for x in (0.0, 1.0))
    options = _table(builder, 2, {0: mean, 1: std})
    unit = _table(builder, 2, {1: options}, {0: _NORMALIZATION})
    low, high = (builder.CreateNumpyVector(np.array([x], np.float32)) for x in (0.0, 255.0))
    stats = _table(builder, 2, {0: high, 1: low})
    texts = {
        0: "image",
        1: f"Gray X-ray of {size} x {size} pixels, 0 to 255, the same value in all three channels; "
        "the network scales it itself.",
    }
    offsets = {3: content, 4: _vector(builder, [unit]), 5: stats}
    return _table(builder, 7, {**_strings(builder, texts), **offsets})


def _scores(builder: flatbuffers.Builder) -> int:
    """TensorMetadata of the output."""
    file = _table(
        builder,
        5,
        _strings(builder, {0: LABELS, 1: "Findings, in the order of the probabilities."}),
        {2: _AXIS_LABELS},
    )
    content = _table(builder, 3, {1: _table(builder, 0, {})}, {0: _FEATURE})
    low, high = (builder.CreateNumpyVector(np.array([x], np.float32)) for x in (0.0, 1.0))
    stats = _table(builder, 2, {0: high, 1: low})
    texts = {0: "probability", 1: "Probability of each finding; several may be there at once."}
    offsets = {3: content, 5: stats, 6: _vector(builder, [file])}
    return _table(builder, 7, {**_strings(builder, texts), **offsets})


def _table(
    builder: flatbuffers.Builder,
    fields: int,
    offsets: Mapping[int, int],
    bytes_: Mapping[int, int] | None = None,
) -> int:
    """A table of `fields` fields: offsets of what was written before, and one-byte numbers."""
    builder.StartObject(fields)
    for place, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    for place, value in (bytes_ or {}).items():
        builder.PrependUint8Slot(place, value, 0)
    return builder.EndObject()


def _strings(builder: flatbuffers.Builder, texts: Mapping[int, str]) -> dict[int, int]:
    return {place: builder.CreateString(text) for place, text in texts.items()}


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
