"""A DICOM as the 8-bit PNG that a hospital's viewer exports: what models have been trained on.

NIH's PNGs were made from DICOMs by their window (Wang et al., CVPR 2017, section 3).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.client.settings import DicomLimits
from serving.images import BadImage, ImageLimits

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset

# pydicom and cv2 take half a second to import: only where there is a DICOM.

SHRUNK = "shrunk from {}x{} to {}x{} pixels"
NO_WINDOW = "has no window: its darkest value is shown black, its brightest white"
NO_XRAY = "modality {}: the model knows only chest X-rays"
_XRAYS = ("CR", "DX", "RG", "DR", "OT")
_FAR = np.array([-1e18, 1e18])  # beyond every window


def is_dicom(start: bytes) -> bool:
    """Whether a file of these first 132 bytes is a DICOM (PS3.10, section 7.1)."""
    return start[128:132] == b"DICM"


def render_dicom(
    path: Path, limits: ImageLimits, dicom_limits: DicomLimits
) -> tuple[bytes, tuple[str, ...]]:
    """An 8-bit gray PNG, and notes about how it was made.

    Rescaling (or the modality LUT), then the first VOI LUT or else the first window, whose whole
    range becomes 0 to 255, rounded (an exporter that truncates differs by up to one level);
    without either, the range of the values. MONOCHROME1 is inverted. An image above `max_side` is
    shrunk, by averaging areas.

    Raises:
        BadImage: no single-frame grayscale image, above the limits, a private or deflated transfer
            syntax or one for which no decoder is installed, damaged.
    """
    import cv2
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.pixels import pixel_array

    with _refusing("damaged: its header cannot be read"):
        _check_syntax(read_file_meta_info(path))
        header = dcmread(path, stop_before_pixels=True)
        notes = _check_header(header, dicom_limits)
    with _refusing("damaged: its pixels cannot be decoded"):
        stored = pixel_array(path, raw=True)
    if stored.ndim != 2 or stored.dtype.kind not in "iu":
        raise _bad(f"pixels of shape {stored.shape} and type {stored.dtype}")
    with _refusing("its grayscale tables cannot be applied"):
        gray, windowed = _render(stored, header)
    if not windowed:
        notes.append(NO_WINDOW)
    height, width = gray.shape
    if max(gray.shape) > limits.max_side:
        scale = limits.max_side / max(gray.shape)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        notes.append(SHRUNK.format(width, height, *size))
    return cv2.imencode(".png", gray)[1].tobytes(), tuple(f"DICOM {note}" for note in notes)


def _check_syntax(meta: "FileMetaDataset") -> None:
    """Raises BadImage for a transfer syntax that can't be read."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

    uid = UID(meta.get("TransferSyntaxUID") or "")
    if not uid:
        raise _bad("names no transfer syntax")
    if uid.is_private or not uid.is_transfer_syntax:
        raise _bad(f"private or unknown transfer syntax {uid}")
    if uid == DeflatedExplicitVRLittleEndian:  # its size shows only once it is in memory
        raise _bad("deflated; store it uncompressed")
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        raise _bad(f"transfer syntax {uid.name} isn't supported") from None
    if not decoder.is_available:
        missing = "; ".join(decoder.missing_dependencies)
        raise _bad(f"compressed as {uid.name}, and no decoder is installed: {missing}")


def _check_header(header: "Dataset", limits: DicomLimits) -> list[str]:
    """Notes; raises BadImage for what isn't one grayscale image."""
    if not header.get("Rows") or not header.get("Columns"):
        kind = header.get("SOPClassUID")
        raise _bad(f"without an image{f' ({kind.name})' if kind else ''}")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise _bad(f"of {frames} frames; one is accepted")
    if header.Rows * header.Columns > limits.max_pixels:
        raise _bad(
            f"of {header.Columns}x{header.Rows} pixels; at most {limits.max_pixels} are accepted"
        )
    photometric = header.get("PhotometricInterpretation", "none")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise _bad(f"photometric interpretation {photometric}; MONOCHROME1 and 2 are accepted")
    for name in ("RescaleSlope", "RescaleIntercept"):  # pydicom takes them for numbers
        if name in header and header.get(name) is None:
            del header[name]
    modality = header.get("Modality") or "OT"
    return [] if modality in _XRAYS else [NO_XRAY.format(modality)]


def _render(stored: np.ndarray, header: "Dataset") -> tuple[np.ndarray, bool]:
    """uint8 pixels, and whether the file says which values to show.

    Everything is computed once a value, not once a pixel.
    """
    if stored.itemsize <= 2:
        unsigned = np.dtype(f"u{stored.itemsize}")
        values = np.arange(2 ** (8 * stored.itemsize), dtype=unsigned).view(stored.dtype)
        index = stored.view(unsigned)
    else:
        values, index = np.unique(stored, return_inverse=True)
        index = index.reshape(stored.shape)
    shares = _shares(values, header)
    windowed = shares is not None
    if shares is None:
        there = np.bincount(index.ravel(), minlength=len(values)) > 0
        shares = _whole_range(values, there, header)
    table = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    if header.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    return table[index], windowed


def _shares(values: np.ndarray, header: "Dataset") -> np.ndarray | None:
    """How bright each stored value is shown, 0 to 1; None if the file doesn't say."""
    from pydicom.pixels import apply_voi, apply_windowing

    values = _rescaled(values, header)
    tables = header.get("VOILUTSequence")
    if tables and tables[0].get("LUTDescriptor") and tables[0].get("LUTData") is not None:
        first, bits = tables[0].LUTDescriptor[1:]
        shown = apply_voi(np.clip(np.rint(values), first, first + 2**16 - 1).astype(int), header)
        # Some say too few bits.
        return shown / max(2**bits - 1, int(shown.max()))
    if header.get("WindowCenter") is None or header.get("WindowWidth") is None:
        return None
    with np.errstate(over="ignore"):
        black, white = apply_windowing(_FAR, header)
        return (apply_windowing(values, header) - black) / (white - black)


def _whole_range(values: np.ndarray, there: np.ndarray, header: "Dataset") -> np.ndarray:
    """From the lowest value of the image to the highest, padding apart: 0 to 1."""
    pixels = there & (values != header.get("PixelPaddingValue"))
    rescaled = _rescaled(values, header)
    shown = rescaled[pixels] if pixels.any() else rescaled[there]
    low, high = shown.min(), shown.max()
    return (rescaled - low) / ((high - low) or 1)


def _rescaled(values: np.ndarray, header: "Dataset") -> np.ndarray:
    from pydicom.pixels import apply_modality_lut

    return apply_modality_lut(values.astype(np.int64), header).astype(float)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Files from everywhere make pydicom and its decoders raise nearly anything."""
    try:
        yield
    except BadImage:
        raise
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        raise _bad(f"{what} ({detail[:200]})") from None


def _bad(reason: str) -> BadImage:
    return BadImage(f"DICOM {reason}")
