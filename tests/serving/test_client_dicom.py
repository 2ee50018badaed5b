"""DICOMs as the client renders them, against values computed by hand."""

import struct
import warnings

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from serving.client.dicom import is_dicom, render_dicom
from serving.client.settings import DicomLimits
from serving.images import BadImage, ImageLimits, check_image
from tests.serving.dicoms import write_dicom

SIDE = 64
RAMP = np.resize(np.arange(4096), (SIDE, SIDE)).astype(np.uint16)
FULL_12 = {"WindowCenter": 2048, "WindowWidth": 4096}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def render(path, limits=ImageLimits(), dicom=DicomLimits()):  # noqa: B008
    png, notes = render_dicom(path, limits, dicom)
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), notes


def lut(values, first, bits, vr="US"):
    """A sequence of one table, its data as numbers (US) or as bytes (OW)."""
    table = Dataset()
    table.LUTDescriptor = [len(values), first, bits]
    data = list(values) if vr == "US" else struct.pack(f"<{len(values)}H", *values)
    table.add_new("LUTData", vr, data)
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
    "first of two windows": (
        RAMP, 12, {"WindowCenter": [1400, 5], "WindowWidth": [1000, 2]}, shown(RAMP, 900, 1899)
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
    "bits above those stored": (RAMP | 0xF000, 12, FULL_12, shown(RAMP, 0, 4095)),
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
    gray, _ = render(write_dicom(tmp_path / "c.dcm", pixels * 0 + 7))
    assert not gray.any()


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
    from pydicom import dcmread
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
    "deflated": ((RAMP, {"syntax": "1.2.840.10008.1.2.1.99"}), "DICOM deflated"),
    "video": ((RAMP, {"syntax": "1.2.840.10008.1.2.4.100"}), "isn't supported"),
    "too many pixels": (
        (RAMP, {"Rows": 40_000, "Columns": 40_000}),
        "of 40000x40000 pixels; at most 67108864 are accepted",
    ),
    "window of no width": (
        (RAMP, {"WindowCenter": 5, "WindowWidth": 0}),
        "its grayscale tables cannot be applied (ValueError",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path, kind):
    (pixels, elements), reason = REFUSED[kind]
    path = write_dicom(tmp_path / "a.dcm", pixels, **elements)
    with pytest.raises(BadImage) as caught:
        render(path)
    assert reason in caught.value.reason and "\n" not in caught.value.reason


def test_missing_decoder_is_named(tmp_path):
    from pydicom.pixels import get_decoder

    if get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a decoder of lossless JPEG is installed")
    path = write_dicom(tmp_path / "a.dcm", RAMP, syntax=JPEGLosslessSV1)
    with pytest.raises(BadImage, match=r"no decoder is installed: .*pylibjpeg"):
        render(path)


def test_other_modalities_are_noted(tmp_path):
    _, notes = render(write_dicom(tmp_path / "a.dcm", RAMP, Modality="MR", **FULL_12))
    assert notes == ("DICOM modality MR: the model knows only chest X-rays",)


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
                png, _ = render_dicom(path, ImageLimits(), DicomLimits())
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
