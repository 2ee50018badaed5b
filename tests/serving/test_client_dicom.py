"""DICOMs as the client renders them, against values computed by hand."""

import struct
import warnings

import cv2
import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.dicom.render import DicomIdentity, is_dicom, read_dicom, render_dicom
from cxrflow.schema.image_rules import BadImage, ImageLimits, check_image
from tests.serving.dicoms import write_dicom

SIDE = 64
RAMP = np.resize(np.arange(4096), (SIDE, SIDE)).astype(np.uint16)
FULL_12 = {"WindowCenter": 2048, "WindowWidth": 4096}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def render(path, limits=ImageLimits(), dicom=DicomLimits()):  # noqa: B008
    """Gray levels and the notes about how they were made; what is doubted has its own tests."""
    picture = read_dicom(path, limits, dicom)
    return cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_UNCHANGED), picture.notes


def lut(values, first, bits, vr="US", count=None, first_vr="US"):
    """A sequence of one table, its data as numbers (US), as words (OW) or a byte each (packed)."""
    table = Dataset()
    first = first % 2**16 if first_vr == "US" else first
    table.add_new("LUTDescriptor", first_vr, [count or len(values), first, bits])
    data = {
        "US": list(values),
        "OW": struct.pack(f"<{len(values)}H", *values),
        "packed": bytes(values) if max(values) < 256 else b"",
    }[vr]
    table.add_new("LUTData", "US" if vr == "US" else "OW", data)
    return Sequence([table])


def shown(values, low, high):
    """Shares of a range as gray levels, not rounded."""
    return 255 * np.clip((values.astype(float) - low) / (high - low), 0, 1)


def assert_rounded(gray, expected):
    assert np.abs(gray - expected).max() < 0.5 + 1e-6


SIGNED = (RAMP.astype(np.int32) - 2048).astype(np.int16)
CASES = {
    "12 bits": (RAMP, 12, FULL_12, shown(RAMP, 0, 4095)),
    "12 bits, inverted": (
        RAMP,
        12,
        FULL_12 | {"PhotometricInterpretation": "MONOCHROME1"},
        255 - shown(RAMP, 0, 4095),
    ),
    "16 bits": (
        RAMP * 16,
        16,
        {"WindowCenter": 32768, "WindowWidth": 65536},
        shown(RAMP * 16, 0, 65535),
    ),
    "8 bits": (
        (RAMP // 16).astype(np.uint8), 8, {"WindowCenter": 128, "WindowWidth": 256}, RAMP // 16
    ),
    # Black at center - 0.5 - (width - 1) / 2 = 900, white at 1899.
    "narrow window": (
        RAMP, 12, {"WindowCenter": 1400, "WindowWidth": 1000}, shown(RAMP, 900, 1899)
    ),
    "exact window": (
        RAMP,
        12,
        {"WindowCenter": 1400, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
        shown(RAMP, 900, 1900),
    ),
    "sigmoid window": (
        RAMP,
        12,
        {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
        255 / (1 + np.exp(-4 * (RAMP.astype(float) - 2000) / 1000)),
    ),
    "the same window twice": (
        RAMP, 12, {"WindowCenter": [1400] * 2, "WindowWidth": [1000] * 2}, shown(RAMP, 900, 1899)
    ),
    "function without a value": (RAMP, 12, FULL_12 | {"VOILUTFunction": ""}, shown(RAMP, 0, 4095)),
    "window less wide than 1": (
        RAMP,
        12,
        {"RescaleSlope": 1 / 4096, "WindowCenter": 0.5, "WindowWidth": 0.5},
        shown(RAMP, 1024, 3072),
    ),
    "slope of 0.5, as converters write it": (
        RAMP, 12, FULL_12 | {"RescaleSlope": "0.5", "RescaleIntercept": "0"},
        shown(RAMP / 2, 0, 4095),
    ),
    "high bit above the bits stored": (
        RAMP << 4, 12, FULL_12 | {"HighBit": 15}, shown(RAMP, 0, 4095)
    ),
    "signed, high bit above": (
        (RAMP << 4).view(np.int16), 12, {"HighBit": 15, "WindowCenter": 0, "WindowWidth": 4096},
        shown(np.where(RAMP < 2048, RAMP.astype(int), RAMP.astype(int) - 4096), -2048, 2047),
    ),
    "rescaled": (
        RAMP,
        12,
        # 0 to 4095 are -1000 to 7190; shown are 0 to 999, stored 500 to 999.5.
        {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 500, "WindowWidth": 1000},
        shown(RAMP, 500, 999.5),
    ),
    "negative slope": (
        RAMP,
        12,
        {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 2048, "WindowWidth": 4096},
        255 - shown(RAMP, 0, 4095),
    ),
    "signed": (SIGNED, 12, {"WindowCenter": 0, "WindowWidth": 4096}, shown(RAMP, 0, 4095)),
    "first value of padding": (RAMP, 12, FULL_12 | {"PixelPaddingValue": 0}, shown(RAMP, 0, 4095)),
    "VOI table before window": (
        RAMP,
        12,
        FULL_12 | {"VOILUTSequence": lut([0, 100, 4095], 1000, 12)},
        np.select([RAMP <= 1000, RAMP == 1001], [0, 255 * 100 / 4095], 255),
    ),
    "VOI table of fewer bits than its values": (
        RAMP,
        12,
        {"VOILUTSequence": lut([0, 1023, 2046], 1000, 10, "OW")},
        np.select([RAMP <= 1000, RAMP == 1001], [0, 127.5], 255),
    ),
    "VOI table of 16 bits whose data use 12": (
        RAMP, 12, {"VOILUTSequence": lut(range(4096), 0, 16)}, shown(RAMP, 0, 4095)
    ),
    "VOI table of 16 bits whose data use 15": (
        RAMP,
        12,
        {"VOILUTSequence": lut(range(0, 32768, 8), 0, 16, "OW")},
        shown(RAMP, 0, 32767 / 8),
    ),
    "VOI table of 8 bits in bytes": (
        RAMP,
        12,
        {"VOILUTSequence": lut([*range(256)] * 8 + [255] * 2048, 0, 8, "packed")},
        np.where(RAMP < 2048, RAMP % 256, 255),
    ),
    "VOI table that begins below zero": (
        RAMP,
        12,
        {"RescaleIntercept": -1000, "VOILUTSequence": lut(range(4096), -1000, 12)},
        shown(RAMP, 0, 4095),
    ),
    "VOI table shorter than it says": (
        RAMP, 12, {"VOILUTSequence": lut(range(2048), 0, 11, count=4096)}, shown(RAMP, 0, 2047)
    ),
    "modality table": (
        RAMP,
        12,
        FULL_12 | {"ModalityLUTSequence": lut([0, 4095], 2000, 16)},
        np.where(RAMP > 2000, 255, 0),
    ),
    "empty rescale": (
        RAMP, 12, FULL_12 | {"RescaleSlope": "", "RescaleIntercept": ""}, shown(RAMP, 0, 4095)
    ),
    "32 bits": (
        RAMP.astype(np.uint32) * 2**20,
        32,
        {"WindowCenter": 2**31, "WindowWidth": 2**32},
        shown(RAMP, 0, 4096),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_values_become_gray_levels(tmp_path, case):
    pixels, bits, elements, expected = CASES[case]
    gray, notes = render(write_dicom(tmp_path / "a.dcm", pixels, bits, **elements))
    assert gray.dtype == np.uint8 and gray.shape == (SIDE, SIDE)
    assert_rounded(gray, expected)
    assert notes == ()


def test_without_window_the_range_of_the_values_is_shown(tmp_path):
    pixels = np.clip(RAMP, 1000, 3000)
    gray, notes = render(write_dicom(tmp_path / "a.dcm", pixels))
    assert_rounded(gray, shown(pixels, 1000, 3000))
    assert len(notes) == 1 and "has no window" in notes[0]
    padded = pixels.copy()
    padded[:5] = 0
    gray, _ = render(write_dicom(tmp_path / "b.dcm", padded, PixelPaddingValue=0))
    assert_rounded(gray, shown(padded, 1000, 3000))


@pytest.mark.parametrize(
    ("vr", "value", "limit"),
    [
        ("SS", -2000, None),
        ("US", 2**16 - 2000, None),
        ("SS", -2000, -1990),
        ("US", 2**16 - 2000, 2**16 - 1990),
        ("SS", -1990, -2000),
    ],
)
def test_padding_has_the_pixels_sign(tmp_path, vr, value, limit):
    pixels = np.clip(RAMP, 1000, 3000).astype(np.int16) - 2000
    expected = shown(pixels, -1000, 1000)
    pixels[:5], expected[:5] = -2000, 0
    if limit:
        pixels[:3] = -1995
    path = write_dicom(tmp_path / "a.dcm", pixels, 16)
    file = dcmread(path)
    file.add_new("PixelPaddingValue", vr, value)
    if limit:
        file.add_new("PixelPaddingRangeLimit", vr, limit)
    file.save_as(path)
    gray, _ = render(path)
    assert_rounded(gray, expected)


SHAPES = {
    ("MONOCHROME1", ""): True,
    ("MONOCHROME1", "INVERSE"): True,
    ("MONOCHROME1", "IDENTITY"): False,
    ("MONOCHROME2", ""): False,
    ("MONOCHROME2", "IDENTITY"): False,
    ("MONOCHROME2", "INVERSE"): True,
}


@pytest.mark.parametrize(("photometric", "shape"), SHAPES)
def test_shape_of_presentation_goes_before_photometric_interpretation(tmp_path, photometric, shape):
    elements = FULL_12 | {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    gray, notes = render(write_dicom(tmp_path / "a.dcm", RAMP, **elements))
    expected = shown(RAMP, 0, 4095)
    assert_rounded(gray, 255 - expected if SHAPES[photometric, shape] else expected)
    contradiction = (photometric, shape) == ("MONOCHROME1", "IDENTITY")
    assert [note for note in notes if "contradict" in note] == list(notes)
    assert len(notes) == contradiction


MALFORMED = {
    # What the file says, then the window that is shown, or none, then what is noted.
    "decimal commas": (b"2048,0 ", b"4096,00 ", (2048, 4096), ""),
    "spaces and zeros": (b" 2048\0", b"  4096 \0", (2048, 4096), ""),
    "exponents": (b"2.048E3 ", b"+4.096e+3 ", (2048, 4096), ""),
    "two windows": (b"1400\\2048 ", b"1000\\4096 ", (1400, 1000), "has 2 windows"),
    "first of two unusable": (b"\\2048 ", b"\\4096 ", (2048, 4096), ""),
    "more centers than widths": (b"2048\\5\\6", b"4096", (2048, 4096), ""),
    "empty": (b"", b"", None, "has no window"),
    "no width": (b"2048", b"", None, "has no window"),
    "words": (b"auto", b"4096", None, "WindowCenter 'auto'"),
    "not a number": (b"nan ", b"inf ", None, "WindowCenter 'nan'"),
    "huge": (b"1e400 ", b"4096", None, "WindowCenter '1e400'"),
    "width of zero": (b"2048", b"0 ", None, "WindowWidth '0'"),
    "negative width": (b"2048", b"-5", None, "WindowWidth '-5'"),
    "a point and a comma": (b"2.048,00", b"4096", None, "WindowCenter '2.048,00'"),
    "other bytes": (b"\xff\xfe\x80\x01", b"4096", None, "WindowCenter"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_windows_are_cleaned_or_left_out(tmp_path, kind):
    center, width, window, note = MALFORMED[kind]
    path = write_dicom(tmp_path / "a.dcm", RAMP, 12, WindowCenter="1111", WindowWidth="2222")
    path.write_bytes(with_elements(path.read_bytes(), {0x1050: center, 0x1051: width}))
    gray, notes = render(path)
    low, high = (0, 4095) if window is None else window_ends(*window)
    assert_rounded(gray, shown(RAMP, low, high))
    assert note in " ".join(notes) and (note or not notes)


@pytest.mark.parametrize(
    "elements",
    [
        {0x1053: b"abc "},
        {0x1052: b"", 0x1053: b""},
        {0x1053: b"0 "},
        {0x1052: b"0,0 ", 0x1053: b"1,0 "},
        {0x1056: b"SIGMA "},
        {0x0120: b""},
        {0x0102: struct.pack("<H", 3)},
    ],
)
def test_other_malformed_elements_are_cleaned_or_left_out(tmp_path, elements):
    full = {"RescaleIntercept": "0", "RescaleSlope": "1", "VOILUTFunction": "LINEAR"}
    path = write_dicom(tmp_path / "a.dcm", RAMP, 12, **FULL_12, **full, PixelPaddingValue=7)
    path.write_bytes(with_elements(path.read_bytes(), elements))
    gray, notes = render(path)
    assert_rounded(gray, shown(RAMP, 0, 4095))
    bad = [value for value in elements.values() if value and b"," not in value]
    assert len(notes) == len(bad) and all("can't be used are left out" in note for note in notes)


def with_elements(data: bytes, elements: dict[int, bytes]) -> bytes:
    """A file with other bytes in elements of group 0028 that have short lengths."""
    for element, value in elements.items():
        at = data.index(struct.pack("<HH", 0x28, element))
        (length,) = struct.unpack_from("<H", data, at + 6)
        value += b" " * (len(value) % 2)
        data = data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + length :]
    return data


def window_ends(center, width):
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def without_preamble(path):
    """The data set alone, in the file's own coding."""
    data = path.read_bytes()
    return data[132 + 12 + dcmread(path).file_meta.FileMetaInformationGroupLength :]


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("bits", [8, 12])
def test_files_without_preamble_are_read(tmp_path, syntax, bits):
    pixels = RAMP if bits == 12 else (RAMP % 256).astype(np.uint8)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    path = write_dicom(tmp_path / "a.dcm", pixels, bits, **window)
    file = dcmread(path)
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    if not little:
        file["PixelData"].VR = "OW"
        words = np.frombuffer(file.PixelData, np.uint16)
        file.PixelData = words.astype(">u2").tobytes()
    file.file_meta.TransferSyntaxUID = syntax
    dcmwrite(path, file, implicit_vr=implicit, little_endian=little, force_encoding=True)
    expected = shown(pixels, 0, 2**bits - 1)
    assert_rounded(render(path)[0], expected)
    bare = tmp_path / "bare"
    bare.write_bytes(without_preamble(path))
    assert is_dicom(bare.read_bytes()[:132])
    assert_rounded(render(bare)[0], expected)
    meta = tmp_path / "meta"
    meta.write_bytes(path.read_bytes()[132:])
    assert is_dicom(meta.read_bytes()[:132])
    assert_rounded(render(meta)[0], expected)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x08\x00",
        b"\x89PNG\r\n\x1a\n" + bytes(124),
        b"\xff\xd8\xff\xe0" + bytes(128),
        bytes(132),
        b"\x08\x00\x05\x00" + b"\xff" * 128,
        b"\x08\x00\x16\x00UI\x02\x00\0\0" + b"\x01\x00\x01\x00UI\x02\0" + bytes(99),
        b"GIF89a" + bytes(126),
        bytes(range(132)),
    ],
)
def test_other_files_are_no_dicom(start):
    assert not is_dicom(start)


def test_identity_is_the_files(tmp_path):
    identity = read_dicom(
        write_dicom(
            tmp_path / "a.dcm",
            RAMP,
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.4",
            AccessionNumber="A 17",
            **FULL_12,
        ),
        ImageLimits(),
        DicomLimits(),
    ).identity
    assert identity.sop_uid.startswith("1.2.826.0.1.3680043.8.498.")
    assert identity == DicomIdentity("1.2.3", "1.2.4", identity.sop_uid, "A 17")
    without = write_dicom(tmp_path / "b.dcm", RAMP, SOPInstanceUID=None, **FULL_12)
    assert read_dicom(without, ImageLimits(), DicomLimits()).identity == DicomIdentity(
        "", "", "", ""
    )


def test_large_ones_are_shrunk_by_averaging_areas(tmp_path):
    pixels = np.kron(RAMP[:, ::-1] // 16, np.ones((3, 2))).astype(np.uint16)
    pixels[::3] += 3  # each 3x2 block's mean is a level higher
    elements = {"WindowCenter": 128, "WindowWidth": 256}
    path = write_dicom(tmp_path / "a.dcm", pixels, 12, **elements)
    gray, notes = render(path, ImageLimits(max_side=64))
    assert gray.shape == (64, 43) and notes == ("DICOM shrunk from 128x192 to 43x64 pixels",)
    expected = cv2.resize(
        np.clip(pixels, 0, 255).astype(np.float32), (43, 64), None, 0, 0, cv2.INTER_AREA
    )
    assert np.abs(gray - expected).max() <= 0.51  # fmt: skip
    third = pixels.reshape(64, 3, 128).mean(1)
    wide = write_dicom(tmp_path / "b.dcm", pixels[:, :64], 12, **elements)
    gray, _ = render(wide, ImageLimits(max_side=64))
    assert gray.shape == (64, 21)
    assert np.abs(gray.mean() - np.clip(third[:, :64], 0, 255).mean()) < 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_ones_are_read_where_a_decoder_is_installed(tmp_path, syntax):
    from io import BytesIO

    from PIL import Image
    from pydicom.encaps import encapsulate

    path = write_dicom(tmp_path / "a.dcm", RAMP, 12, **FULL_12)
    file = dcmread(path)
    if syntax == RLELossless:
        file.compress(syntax)
    else:
        buffer = BytesIO()
        Image.fromarray(RAMP).save(buffer, "JPEG2000", no_jp2=True)
        file.PixelData = encapsulate([buffer.getvalue()])
        file["PixelData"].is_undefined_length = True
        file.file_meta.TransferSyntaxUID = syntax
        file.BitsStored, file.HighBit = 16, 15  # as Pillow writes them
    file.save_as(path)
    assert_rounded(render(path)[0], shown(RAMP, 0, 4095))


REFUSED = {
    "frames": ((np.stack([RAMP] * 3), {}), "DICOM of 3 frames; one is accepted"),
    "no image": ((None, {}), "DICOM without an image (Digital X-Ray Image Storage"),
    "no pixels": ((RAMP, {"PixelData": None}), "its pixels cannot be decoded"),
    "too few pixels": ((RAMP, {"Rows": 65}), "its pixels cannot be decoded"),
    "colour": (
        (RAMP, {"PhotometricInterpretation": "RGB"}),
        "photometric interpretation RGB; MONOCHROME1 and 2 are accepted",
    ),
    "private syntax": (
        (RAMP, {"syntax": "1.2.840.113619.5.2"}),
        "DICOM private or unknown transfer syntax 1.2.840.113619.5.2",
    ),
    "not deflated as it says": (
        (RAMP, {"syntax": "1.2.840.10008.1.2.1.99"}),
        "DICOM damaged: its header cannot be read",
    ),
    "compressed pixels without a syntax": ((RAMP, {"syntax": "1.2.840.10008.1.2.4.70"}), "against"),
    "video": ((RAMP, {"syntax": "1.2.840.10008.1.2.4.100"}), "isn't supported"),
    "too many pixels": (
        (RAMP, {"Rows": 40_000, "Columns": 40_000}),
        "of 40000x40000 pixels; at most 67108864 are accepted",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path, kind):
    (pixels, elements), reason = REFUSED[kind]
    path = write_dicom(tmp_path / "a.dcm", pixels, **elements)
    with pytest.raises(BadImage) as caught:
        render(path)
    assert reason in caught.value.reason and "\n" not in caught.value.reason


def test_missing_decoder_is_named(tmp_path, monkeypatch):
    from pydicom.pixels import get_decoder

    monkeypatch.setattr(get_decoder(JPEGLosslessSV1), "_available", {})
    path = write_dicom(tmp_path / "a.dcm", RAMP, syntax=JPEGLosslessSV1)
    with pytest.raises(BadImage, match=r"no decoder is installed: .* requires") as caught:
        render(path)
    assert "damaged" not in caught.value.reason


def test_damaged_files_raise_nothing_else(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=lut([0, 100, 4095], 1000, 12))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    assert is_dicom(whole[:132])
    header = whole.index(struct.pack("<HH", 0x7FE0, 0x10)) + 12
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(random.integers(1, 5)):
                data[random.integers(132, header)] = random.integers(256)
            path.write_bytes(
                data[: random.choice([len(data), header, random.integers(132, header)])]
            )
            try:
                png, _ = render_dicom(path, ImageLimits(), DicomLimits())  # notes and doubts in one
                check_image(png, ImageLimits())
                outcomes.add("rendered")
            except BadImage as error:
                outcomes.add(error.reason)
    assert len(outcomes) > 5 and "rendered" in outcomes


def test_real_xray_comes_back(tmp_path, shared_dir):
    path = sorted((shared_dir / "data/nih-raw/images").glob("*.png"))[0]
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    noise = np.random.default_rng(0).integers(0, 16, image.shape)
    stored = (image.astype(np.uint16) * 16 + noise).astype(np.uint16)
    for photometric, pixels in (("MONOCHROME2", stored), ("MONOCHROME1", 4095 - stored)):
        file = write_dicom(
            tmp_path / "a.dcm", pixels, PhotometricInterpretation=photometric, **FULL_12
        )
        gray, _ = render(file)
        assert np.abs(gray.astype(int) - image).max() <= 1  # the noise's doing
        assert_rounded(gray, shown(stored, 0, 4095))
