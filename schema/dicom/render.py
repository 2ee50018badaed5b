"""A DICOM as the 8-bit PNG that a hospital's viewer exports: what models have been trained on.

NIH's PNGs were made from DICOMs by their window (Wang et al., CVPR 2017, section 3).
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.image_rules import BadImage, ImageLimits
from cxrflow.schema.portable.image_rules import TOO_LARGE

if TYPE_CHECKING:
    from cxrflow.schema.dicom.header import Elements

# pydicom and cv2 take half a second to import: only where there is a DICOM.

SHRUNK = "shrunk from {}x{} to {}x{} pixels"
LEFT_OUT = "elements that can't be used are left out: {}"
SPILLED = "sets bits outside the {} that it says are stored: they are left out"
SURPLUS = "holds {} bytes more than {}x{} pixels take: its rows and columns may be wrong"
# Value representations, PS3.5 section 6.2.
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_HEADS = (2**16, 2**20)  # bytes in which a header is looked for first
_SHORT = 2**12  # bytes of a data set's first elements


@dataclass(frozen=True)
class DicomIdentity:
    """Which image of which examination this is; empty where the file doesn't say."""

    study_uid: str
    series_uid: str
    sop_uid: str
    accession_number: str


@dataclass(frozen=True)
class DicomPicture:
    """What is had from a DICOM."""

    png: bytes  # 8-bit gray
    notes: tuple[str, ...]  # how it was made
    doubts: tuple[str, ...]  # why the model may know nothing of it
    identity: DicomIdentity


def is_dicom(start: bytes) -> bool:
    """Whether a file of these first bytes is a DICOM; 132 of them tell.

    Either with preamble and marker (PS3.10, section 7.1), or with neither: then two elements of a
    data set must follow each other, the first one of the group 2 or 8.
    """
    return start[128:132] == b"DICM" or any(_is_data_set(start, order) for order in "<>")


def render_dicom(
    path: Path, limits: ImageLimits, dicom_limits: DicomLimits
) -> tuple[bytes, tuple[str, ...]]:
    """An 8-bit gray PNG, and notes about it; see `read_dicom`."""
    picture = read_dicom(path, limits, dicom_limits)
    return picture.png, picture.doubts + picture.notes


def read_header(path: Path, limits: DicomLimits) -> "Elements":
    """What a DICOM says of itself; of a large file no more is read than its header takes.

    Raises:
        BadImage: above the limits, in a transfer syntax that isn't read, or damaged.
    """
    from cxrflow.schema.dicom.file import read_file

    with _refusing("damaged: its header cannot be read"), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.max_bytes:
            raise BadImage(TOO_LARGE, size, limits.max_bytes)
        data = b""
        for most in (*_HEADS, size):
            data += file.read(most - len(data))
            whole = len(data) == size
            try:
                found = read_file(data, limits)
            except Exception:
                if whole:
                    raise
            else:
                if whole or found.pixels >= 0:
                    return found.header
    raise BadImage("DICOM damaged: it changed while it was read")


def read_dicom(path: Path, limits: ImageLimits, dicom_limits: DicomLimits) -> DicomPicture:
    """The picture of a DICOM.

    Rescaling (or the modality LUT), then the first VOI LUT or else the first window, whose whole
    range becomes 0 to 255, rounded (an exporter that truncates differs by up to one level);
    without either, the range of the values. INVERSE presentation, or else MONOCHROME1, is inverted.
    An image above `max_side` is shrunk, by averaging areas.

    Raises:
        BadImage: no single-frame grayscale image, above the limits, a transfer syntax that isn't
            read or has no decoder here, damaged, or of one gray level.
    """
    import cv2

    from cxrflow.schema.dicom.doubts import doubt_header, doubt_picture
    from cxrflow.schema.dicom.file import read_cells, read_file, read_layout, surplus
    from cxrflow.schema.dicom.gray import read_rules, to_gray

    with _refusing("damaged: its header cannot be read"):
        file = read_file(_read(path, dicom_limits), dicom_limits)
        header = file.header
        _check_image(header, dicom_limits)
        layout = read_layout(header)
        doubts = doubt_header(header)
        identity = _identify(header)
    with _refusing("damaged: its pixels cannot be decoded"):
        cells, layout = read_cells(file, layout)
        if more := surplus(file, layout):
            doubts.append(SURPLUS.format(more, layout.columns, layout.rows))
    with _refusing("its grayscale tables cannot be applied"):
        if layout.spill(cells) & ~_overlays(header, layout.allocated):
            doubts.append(SPILLED.format(layout.bits))
        rules, notes = read_rules(header, layout)
        picture = to_gray(layout.values(cells), rules)
        doubts += doubt_picture(picture, dicom_limits)
    if header.unusable:
        notes.append(LEFT_OUT.format(", ".join(dict.fromkeys(header.unusable))))
    gray = picture.gray
    height, width = gray.shape
    if max(gray.shape) > limits.max_side:
        scale = limits.max_side / max(gray.shape)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        notes.append(SHRUNK.format(width, height, *size))
    png = cv2.imencode(".png", gray)[1].tobytes()
    return DicomPicture(png, _named(notes), _named(doubts), identity)


def _read(path: Path, limits: DicomLimits) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.max_bytes:
            raise BadImage(TOO_LARGE, size, limits.max_bytes)
        return file.read()


def _check_image(header: "Elements", limits: DicomLimits) -> None:
    """Raises BadImage for what isn't one grayscale image."""
    from pydicom.uid import UID

    rows, columns = header.integer("Rows"), header.integer("Columns")
    if rows <= 0 or columns <= 0:
        kind = UID(header.text("SOPClassUID"))
        raise BadImage(f"without an image{f' ({kind.name[:64]})' if kind else ''}")
    frames = header.integer("NumberOfFrames", 1)
    if frames > 1:
        raise BadImage(f"of {frames} frames; one is accepted")
    if rows * columns > limits.max_pixels:
        raise BadImage(f"of {columns}x{rows} pixels; at most {limits.max_pixels} are accepted")
    photometric = (header.words("PhotometricInterpretation") or ["none"])[0]
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise BadImage(
            f"photometric interpretation {photometric[:64]}; MONOCHROME1 and 2 are accepted"
        )
    samples = header.integer("SamplesPerPixel", 1)
    if samples != 1:
        raise BadImage(f"pixels of {samples} channels; one is accepted")


def _identify(header: "Elements") -> DicomIdentity:
    return DicomIdentity(
        header.text("StudyInstanceUID"),
        header.text("SeriesInstanceUID"),
        header.text("SOPInstanceUID"),
        header.text("AccessionNumber"),
    )


def _overlays(header: "Elements", allocated: int) -> int:
    """The bits of the cells that overlays take, PS3.3 C.9.2 until 2004: a mask."""
    places = {header.integer(group << 16 | 0x0102) for group in range(0x6000, 0x6020, 2)}
    return sum(1 << place for place in places if 0 < place < allocated)


def _is_data_set(start: bytes, order: str) -> bool:
    """Whether data elements begin here."""
    before, at = 0, 0
    for number in range(2):
        if at + 12 > len(start):
            return number > 0
        group, element, length = struct.unpack_from(f"{order}HHI", start, at)
        tag, vr, header = group << 16 | element, start[at + 4 : at + 6], 8
        if vr in _VRS:
            length = struct.unpack_from(f"{order}H", start, at + 6)[0]
            if vr in _LONG_VRS:
                length, header = struct.unpack_from(f"{order}I", start, at + 8)[0], 12
        if (not number and group not in (2, 8)) or (tag <= before and number) or length > _SHORT:
            return False
        before, at = tag, at + header + length
    return True


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Files from everywhere make pydicom and its decoders raise nearly anything."""
    try:
        yield
    except BadImage as error:
        raise BadImage(f"DICOM {_line(error.reason)}") from None
    except OSError as error:
        if error.errno:
            raise BadImage(f"can't be read: {error.strerror}") from None
        raise _damaged(what, error) from None
    except Exception as error:
        raise _damaged(what, error) from None


def _damaged(what: str, error: Exception) -> BadImage:
    from cxrflow.schema.dicom.streams import Damage

    kind = "" if isinstance(error, Damage) else f"{type(error).__name__}: "
    return BadImage(f"DICOM {what} ({_line(f'{kind}{error}')})")


def _line(text: str) -> str:
    """One line of what a file or a library says."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:200]


def _named(notes: list[str]) -> tuple[str, ...]:
    return tuple(f"DICOM {_line(note)}" for note in notes)
