"""Pictures of DICOMs equal dcmtk's, within one level: it truncates where the client rounds.

Every file that both read, of ../shared and one made for each kind. dcmtk's own program does what
the client decides by itself, so each file is asked about with the option that does the same: the
first VOI table (its depth found from its data), else the first window, else the range of values.
"""

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.dicom.render import read_dicom
from cxrflow.schema.image_rules import BadImage, ImageLimits
from tests.serving.dicoms import write_dicom
from tests.serving.test_client_dicom import lut

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.skipif(not shutil.which("dcmj2pnm"), reason="dcmtk is not installed"),
]
SIDE = 96
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
# 12 bits, every level of 8 and both ends among them.
PIXELS = np.clip((ROWS * 40 + COLUMNS * 5 + (ROWS * COLUMNS) % 97) * 0.95, 0, 4095).astype(
    np.uint16
)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
LEVELS = 1  # dcmtk truncates
DATA = "data/dicom"
JPEG_2000 = ("_J2KI", "_J2KR")  # dcmtk 3.6.7 has no decoder


def ours(path: Path) -> np.ndarray:
    png = read_dicom(path, ImageLimits(min_side=1), DicomLimits()).png
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def by_dcmtk(path: Path, *options: str) -> np.ndarray:
    """dcmtk's picture with the file's own first table or window, or its range of values."""
    header = dcmread(path, stop_before_pixels=True, force=True)
    if "VOILUTSequence" in header:
        interest = ("+Wl", "1", "+Mv")
    elif header.get("WindowCenter") not in (None, ""):
        interest = ("+Wi", "1")
    else:
        interest = ("+Wm",)
    png = path.with_suffix(".dcmtk.png")
    command = ["dcmj2pnm", "--write-png", *(options or interest), str(path), str(png)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return cv2.imread(str(png), cv2.IMREAD_GRAYSCALE)


def assert_equal(path: Path, *options: str) -> None:
    expected = by_dcmtk(path, *options)
    assert np.ptp(expected) > 20
    assert np.abs(ours(path).astype(int) - expected).max() <= LEVELS


def copied(source: Path, folder: Path) -> Path:
    """A file that dcmtk may write beside, unpacked where it is Zstandard's."""
    target = folder / source.name
    if source.suffix != ".zst":
        return Path(shutil.copy(source, target))
    import zstandard

    target = target.with_suffix("")
    with source.open("rb") as packed, target.open("wb") as file:
        zstandard.ZstdDecompressor().copy_stream(packed, file)
    return target


def real_files(shared_dir: Path) -> list[Path]:
    return [path for path in sorted((shared_dir / DATA).iterdir()) if "_" in path.name]


@pytest.mark.slow
def test_real_radiographs(shared_dir, tmp_path):
    compared = []
    for source in real_files(shared_dir):
        if source.name.endswith(JPEG_2000):
            continue
        path = copied(source, tmp_path)
        expected = by_dcmtk(from_jpeg_ls(path) if "_JLS" in path.name else path)
        wrong = np.abs(ours(path).astype(int) - expected) > LEVELS
        if source.name == "RG3_JPLY":
            # Its compression took 8 pixels from 1023 to 1024. dcmtk cuts the eleventh bit off and
            # shows 0, the other end of the scale; the uncompressed file says who is right.
            assert wrong.sum() == 8
            whole = ours(copied(source.with_name("RG3_UNC.zst"), tmp_path))
            assert np.abs(ours(path).astype(int) - whole)[wrong].max() <= 1
            wrong[:] = False
        assert not wrong.any(), source.name
        compared.append(source.name)
    assert {name[:3] for name in compared} == {"RG1", "RG2", "RG3"} and len(compared) == 13


def from_jpeg_ls(path: Path) -> Path:
    """Decompresses a file for dcmj2pnm, by dcmtk's own decoder of JPEG-LS."""
    plain = path.with_suffix(".plain")
    subprocess.run(["dcmdjpls", path, plain], check=True, capture_output=True)
    return plain


@pytest.mark.slow
def test_real_radiographs_look_the_same_in_all_syntaxes(shared_dir, tmp_path):
    """What dcmtk doesn't read, against what it reads, uncompressed; lossy ones nearly."""
    pictures = {path.name: ours(copied(path, tmp_path)) for path in real_files(shared_dir)}
    assert len(pictures) == 20
    for name, picture in pictures.items():
        reference = pictures.get(f"{name[:3]}_UNC.zst")
        if reference is None:  # one syntax, or lossy ones alone
            continue
        apart = np.abs(picture.astype(int) - reference)
        if name.endswith(("J2KR", "JLSL", "JPLL", "RLE")):
            assert not apart.any(), name
        else:
            assert apart.mean() < 1.5, name
    both = (pictures["RG1_J2KI"].astype(int), pictures["RG1_JLSN"])
    assert np.abs(both[0] - both[1]).max() <= 4


def test_files_of_outside_tests(shared_dir, tmp_path):
    """Those of ../shared/faults; the empty ones apart, whose picture nobody wants."""
    folder = shared_dir / "faults/dicom"
    if not folder.is_dir():
        pytest.skip("no ../shared/faults/dicom here")
    comma, padded, empty = "04_window_decimal_comma", "05", "08_window_beside"
    for source in sorted(folder.iterdir()):
        path = copied(source, tmp_path)
        if source.name.startswith(padded):
            # dcmtk takes padding for pixels: with the range of the others it shows the same.
            pixels = dcmread(path).pixel_array
            low, high = int(pixels[pixels != -2000].min()), int(pixels.max())
            assert_equal(path, "+Ww", str((low + high + 1) / 2), str(high - low + 1))
        elif source.name.startswith(comma):  # dcmtk stops at a decimal comma
            assert_equal(path, "+Ww", "2048", "4096")
        elif source.name.startswith(empty):
            with pytest.raises(BadImage, match="shows nothing"):
                ours(path)
        else:
            assert_equal(path)


SIGNED = (PIXELS.astype(int) - 2048).astype(np.int16)
INVERSE = {"PresentationLUTShape": "INVERSE"}
KINDS = {
    "12 bits": (PIXELS, 12, WINDOW),
    "MONOCHROME1": (PIXELS, 12, WINDOW | {"PhotometricInterpretation": "MONOCHROME1"}),
    "MONOCHROME1 and INVERSE": (
        PIXELS, 12, WINDOW | INVERSE | {"PhotometricInterpretation": "MONOCHROME1"},
    ),
    "MONOCHROME1 and IDENTITY": (
        PIXELS,
        12,
        WINDOW | {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
    ),
    "INVERSE": (PIXELS, 12, WINDOW | INVERSE),
    "16 bits": (PIXELS * 16, 16, {"WindowCenter": 32768, "WindowWidth": 65536}),
    "8 bits": ((PIXELS // 16).astype(np.uint8), 8, {"WindowCenter": 128, "WindowWidth": 256}),
    "narrow window": (PIXELS, 12, {"WindowCenter": 1800, "WindowWidth": 1000}),
    "exact window": (
        PIXELS, 12, {"WindowCenter": 1800, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"}
    ),
    "sigmoid window": (
        PIXELS, 12, {"WindowCenter": 1800, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"}
    ),
    "two windows": (PIXELS, 12, {"WindowCenter": [1800, 9], "WindowWidth": [1500, 9]}),
    "no window": (PIXELS, 12, {}),
    "signed": (SIGNED, 12, {"WindowCenter": 0, "WindowWidth": 4096}),
    "signed, 16 bits": (SIGNED, 16, {"WindowCenter": 0, "WindowWidth": 4096}),
    "rescaled": (
        PIXELS,
        12,
        {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 2000, "WindowWidth": 6000},
    ),
    "negative slope": (PIXELS, 12, WINDOW | {"RescaleSlope": -1, "RescaleIntercept": 4095}),
    "high bit 15": (PIXELS << 4, 12, WINDOW | {"HighBit": 15}),
    "bits above those stored": (PIXELS | 0xF000, 12, WINDOW),
    "VOI table of 12 bits": (PIXELS, 12, {"VOILUTSequence": lut(range(4096), 0, 12)}),
    "VOI table of 16 bits, data of 12": (PIXELS, 12, {"VOILUTSequence": lut(range(4096), 0, 16)}),
    "VOI table of 16 bits, data of 15": (
        PIXELS, 12, {"VOILUTSequence": lut(range(0, 32768, 8), 0, 16)}
    ),
    "VOI table of 10 bits, data of 11": (PIXELS, 12, {"VOILUTSequence": lut(range(2047), 9, 10)}),
    "VOI table in bytes": (
        PIXELS, 12, {"VOILUTSequence": lut([i // 16 for i in range(4096)], 0, 8, "packed")}
    ),
    "VOI table and rescaling": (
        PIXELS,
        12,
        {
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
            "VOILUTSequence": lut(range(4096), -1024, 12, first_vr="SS"),
        },
    ),
    "modality table": (
        PIXELS, 12, WINDOW | {"ModalityLUTSequence": lut(range(4095, -1, -1), 0, 16)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(tmp_path, kind):
    pixels, bits, elements = KINDS[kind]
    assert_equal(write_dicom(tmp_path / "a.dcm", pixels, bits, **elements))


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
)
def test_syntaxes(tmp_path, syntax):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, 12, **WINDOW)
    recode(path, syntax)
    assert_equal(path)


def test_jpeg_of_8_bits(tmp_path):
    from io import BytesIO

    from PIL import Image

    pixels, buffer = (PIXELS // 16).astype(np.uint8), BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    path = write_dicom(tmp_path / "a.dcm", pixels, 8, WindowCenter=128, WindowWidth=256)
    encapsulated(path, buffer.getvalue(), JPEGBaseline8Bit)
    assert_equal(path)


@pytest.mark.skipif(not shutil.which("dcmcjpeg"), reason="dcmtk is not installed")
@pytest.mark.parametrize("option", ["+e1", "+el", "+ee"])
@pytest.mark.parametrize("bits", [12, 16])
def test_jpegs_that_dcmtk_wrote(tmp_path, option, bits):
    """Lossless, by predictor 1 or all, and extended of 12 bits."""
    if option == "+ee" and bits == 16:
        pytest.skip("extended JPEG has 12 bits")
    pixels = PIXELS if bits == 12 else PIXELS * 16
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    path = write_dicom(tmp_path / "a.dcm", pixels, bits, **window)
    coded = tmp_path / "b.dcm"
    subprocess.run(["dcmcjpeg", option, path, coded], check=True, capture_output=True)
    assert_equal(coded)


@pytest.mark.skipif(not shutil.which("dcmcjpls"), reason="dcmtk is not installed")
@pytest.mark.parametrize("pixels", [PIXELS, SIGNED], ids=["unsigned", "signed"])
def test_jpeg_ls_that_dcmtk_wrote(tmp_path, pixels):
    center = 0 if pixels.dtype == np.int16 else 2048
    path = write_dicom(tmp_path / "a.dcm", pixels, 12, WindowCenter=center, WindowWidth=4096)
    coded = tmp_path / "b.dcm"
    subprocess.run(["dcmcjpls", path, coded], check=True, capture_output=True)
    assert dcmread(coded).file_meta.TransferSyntaxUID == JPEGLSLossless
    np.testing.assert_array_equal(ours(coded), ours(path))
    assert_equal(path)


def recode(path: Path, syntax: str) -> None:
    file = dcmread(path)
    if syntax == RLELossless:
        file.compress(syntax)
    if syntax == ExplicitVRBigEndian:
        file.PixelData = np.frombuffer(file.PixelData, "<u2").astype(">u2").tobytes()
    file.file_meta.TransferSyntaxUID = syntax
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    dcmwrite(path, file, implicit_vr=implicit, little_endian=little, force_encoding=True)


def encapsulated(path: Path, frame: bytes, syntax: str) -> None:
    file: Dataset = dcmread(path)
    file.PixelData = encapsulate([frame])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(path)
