"""DICOMs that lie about their size cost little, and whatever is changed ends in a reason."""

import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.dicom.render import read_dicom
from cxrflow.schema.image_rules import BadImage, ImageLimits
from tests.serving.dicoms import write_dicom

SIDE = 64
RAMP = np.resize(np.arange(4096), (SIDE, SIDE)).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
LIMITS = DicomLimits()
PREAMBLE = bytes(128) + b"DICM"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def reason(path, limits=LIMITS, peak=32 * 2**20) -> str:
    """Why a file is refused, in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(BadImage) as caught:
            read_dicom(path, ImageLimits(), limits)
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()
    assert "\n" not in caught.value.reason and len(caught.value.reason) < 300
    return caught.value.reason


def compressed(path, frame: bytes, syntax: str, **elements):
    """A file of one compressed frame."""
    write_dicom(path, RAMP, 12, **WINDOW, **elements)
    file = dcmread(path)
    file.PixelData = encapsulate([frame])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(path)
    return path


def jpeg_header(marker: int, height: int, width: int, channels: int = 1) -> bytes:
    frame = struct.pack(">BHHB", 12, height, width, channels) + b"\1\x11\0" * channels
    return b"\xff\xd8" + struct.pack(">BBH", 0xFF, marker, len(frame) + 2) + frame


def jpeg_2000_header(width: int, height: int, channels: int = 1) -> bytes:
    return (
        b"\xff\x4f\xff\x51"
        + struct.pack(
            ">HHIIIIIIIIH", 38 + 3 * channels, 0, width, height, 0, 0, 1, 1, 0, 0, channels
        )
        + b"\x0b\1\1" * channels
    )


LIES = {
    "JPEG Lossless": (jpeg_header(0xC3, 65535, 65535), JPEGLosslessSV1, "65535x65535"),
    "JPEG-LS": (jpeg_header(0xF7, 65535, 64), JPEGLSLossless, "64x65535"),
    "JPEG 2000": (jpeg_2000_header(2**31, 2**31), JPEG2000Lossless, "2147483648x2147483648"),
    "JPEG of three channels": (jpeg_header(0xC3, 64, 64, 3), JPEGLosslessSV1, "3 channels"),
    "JPEG of many scans": (
        jpeg_header(0xC3, 64, 64) + b"\xff\xda" * 1000, JPEGLosslessSV1, "more than 64 scans"
    ),
    "no JPEG": (b"\xff\xd8" + bytes(100), JPEGLosslessSV1, "no JPEG header"),
    "no JPEG 2000": (bytes(100), JPEG2000Lossless, "no JPEG 2000 header"),
    "nothing": (b"\0\0", JPEG2000Lossless, "damaged: its pixels cannot be decoded"),
    "RLE that grows": (
        struct.pack("<16I", 2, 64, 64 + 2**20, *[0] * 13) + b"\x81\0" * 2**20,
        RLELossless,
        "more bytes than pixels need",
    ),
    "RLE that ends early": (
        struct.pack("<16I", 2, 64, 70, *[0] * 13) + b"\x81\0" * 6, RLELossless, "unpacks to"
    ),
    "RLE of other planes": (
        struct.pack("<16I", 15, *[64] * 15) + bytes(100), RLELossless, "15 segments"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_compressed_pixels_are_what_the_header_says(tmp_path, kind):
    frame, syntax, why = LIES[kind]
    assert why in reason(compressed(tmp_path / "a.dcm", frame, syntax))


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ({"Rows": 65535, "Columns": 65535}, "of 65535x65535 pixels"),
        ({"NumberOfFrames": 2**31 - 1}, "of 2147483647 frames"),
        ({"Rows": 8192, "Columns": 8192}, "8192 bytes of 134217728"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "cells of 8, 16 or 32"),
        ({"BitsAllocated": 16, "BitsStored": 17}, "cells of 8, 16 or 32"),
        ({"SamplesPerPixel": 3}, "3 channels"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3}, "YBR_FULL_422"),
    ],
)
def test_sizes_and_kinds_are_judged_before_pixels(tmp_path, elements, why):
    assert why in reason(write_dicom(tmp_path / "a.dcm", RAMP, **elements))


def test_a_deflated_bomb_stops_at_the_limit(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, syntax=DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    start = data.index(struct.pack("<HH", 8, 0x16))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"".join(deflate.compress(bytes(2**20)) for _ in range(64)) + deflate.flush()
    path.write_bytes(data[:start] + body)
    limits = replace(LIMITS, max_bytes=2**20)
    assert "inflates to more than 1048576 bytes" in reason(path, limits)


def test_large_files_are_not_read(tmp_path):
    path = tmp_path / "a.dcm"
    with path.open("wb") as file:
        file.write(PREAMBLE)
        file.truncate(2**30)
    assert "1073741824 bytes; at most 1048576" in reason(path, replace(LIMITS, max_bytes=2**20))


def test_pixels_in_many_pieces_are_refused(tmp_path):
    path = compressed(tmp_path / "a.dcm", b"\0\0", JPEG2000Lossless)
    data = path.read_bytes()
    at = data.rindex(struct.pack("<HHI", 0xFFFE, 0xE000, 2))
    path.write_bytes(data[:at] + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 70_000)
    assert "more than 65536 pieces" in reason(path)


def test_headers_without_end_are_refused(tmp_path):
    element = struct.pack("<HH2sH", 9, 5, b"CS", 2) + b"\0\0"
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    data = path.read_bytes()
    pixels = data.index(struct.pack("<HH", 0x7FE0, 0x10))
    path.write_bytes(data[:pixels] + element * 20_000 + data[pixels:])
    assert "has more than 10000 elements before its pixels" in reason(path)
    large = struct.pack("<HH2sHI", 9, 5, b"OB", 0, 2**21) + bytes(2**21)
    path.write_bytes(data[:pixels] + large + data[pixels:])
    limits = replace(LIMITS, max_header_bytes=2**20)
    assert "has no pixels in its first 1048576 bytes" in reason(path, limits)


def test_sequences_without_end_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    data = path.read_bytes()
    pixels = data.index(struct.pack("<HH", 0x7FE0, 0x10))
    nested = struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, 2**32 - 1)
    nested += struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)
    path.write_bytes(data[:pixels] + nested * 5000 + data[pixels:])
    assert "damaged" in reason(path)


def sources(folder) -> dict[str, bytes]:
    """Files of several codings, whose decoders live in this process."""
    plain = write_dicom(
        folder / "a.dcm", RAMP, 12, **WINDOW, VOILUTFunction="LINEAR", PixelPaddingValue=0,
        RescaleSlope=1, RescaleIntercept=0, BodyPartExamined="CHEST", StudyInstanceUID="1.2",
    )  # fmt: skip
    found = {"explicit": plain.read_bytes()}
    for name, syntax in (
        ("implicit", ImplicitVRLittleEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
        ("RLE", RLELossless),
    ):
        file = dcmread(plain)
        if syntax == RLELossless:
            file.compress(syntax)
        file.file_meta.TransferSyntaxUID = syntax
        file.save_as(folder / name, implicit_vr=syntax == ImplicitVRLittleEndian)
        found[name] = (folder / name).read_bytes()
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return sources(tmp_path_factory.mktemp("sources"))


CHANGES = st.lists(
    st.tuples(
        st.integers(100, 1200),
        st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff\xff\xff\xff", b"\0\0", b"\\"])),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["explicit", "implicit", "deflated", "RLE"]), CHANGES, st.integers(0, 9000))
def test_changed_headers_are_rendered_or_refused(tmp_path_factory, files, kind, changes, cut):
    data = bytearray(files[kind])
    for at, new, old in changes:
        data[at : at + old] = new
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(data[: len(data) - (cut if cut < 4000 else 0)])
    try:
        picture = read_dicom(path, ImageLimits(), LIMITS)
        assert picture.png.startswith(b"\x89PNG")
    except BadImage as error:
        assert error.reason and "\n" not in error.reason and len(error.reason) < 300


@pytest.mark.parametrize("at", ["start", "middle", "end"])
def test_damaged_jpeg_lossless_ends_in_a_reason(tmp_path, at):
    """By GDCM, which ends the process that it runs in over some damage."""
    frame = bytearray(jpeg_header(0xC3, 64, 64) + b"\xff\xc4\0\x15\0" + bytes(range(18)))
    frame += b"\xff\xda\0\x08\1\1\0\1\0\0" + np.random.default_rng(1).bytes(900)
    where = {"start": 24, "middle": 60, "end": len(frame) - 4}[at]
    frame[where : where + 4] = b"\xff\xc4\xff\xff"
    path = compressed(tmp_path / "a.dcm", bytes(frame), JPEGLosslessSV1)
    try:
        read_dicom(path, ImageLimits(), LIMITS)
    except BadImage as error:
        assert "damaged: its pixels cannot be decoded" in error.reason
