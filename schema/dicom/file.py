"""From a DICOM's bytes to its header and its stored pixels, at a cost that its size bounds."""

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from itertools import count

import numpy as np

from cxrflow.schema.dicom.header import Elements
from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.dicom.streams import Damage, decode, refuse_lies, refuse_unreadable
from cxrflow.schema.image_rules import BadImage

# pydicom takes half a second to import: only where there is a DICOM.

_PREAMBLE = 132  # bytes of preamble and marker, PS3.10 section 7.1
_PIXELS = 0x7FE0
_META_BYTES = 2**16  # of group 2, which has some 300
_MAX_ELEMENTS = 10_000  # of the data set itself; large private ones bring some 1,000
_UNDEFINED = 2**32 - 1
_ITEM = 0xFFFEE000
_MAX_FRAGMENTS = 2**16  # of a frame, which most keep in one
_LONG = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV")  # VRs with a length of 32 bits
_LAYOUTS = (8, 16, 32)  # bits allocated


@dataclass(frozen=True)
class Layout:
    """How each pixel is stored; PS3.5 section 8.1.1."""

    rows: int
    columns: int
    allocated: int  # bits of a cell
    bits: int  # of them that hold the value
    high: int  # its highest bit, counted from 0
    signed: bool

    def values(self, cells: np.ndarray) -> np.ndarray:
        """The values in unsigned cells of `allocated` bits."""
        dtype = cells.dtype
        value: np.ndarray = (cells >> dtype.type(self.high + 1 - self.bits)) & dtype.type(
            2**self.bits - 1
        )
        if not self.signed:
            return value
        unused = 8 * dtype.itemsize - self.bits
        shifted: np.ndarray = (value << dtype.type(unused)).view(f"i{dtype.itemsize}")
        return np.asarray(shifted >> shifted.dtype.type(unused))

    def spill(self, cells: np.ndarray) -> int:
        """The bits outside the value that any cell sets, other than a repeated sign: a mask."""
        mask = ((1 << self.bits) - 1) << (self.high + 1 - self.bits)
        outside = ((1 << self.allocated) - 1) & ~mask
        if not outside:
            return 0
        if not self.signed:
            return int(np.bitwise_or.reduce(cells, axis=None)) & outside
        above = outside & ~((1 << self.high) - 1)
        sign = np.where(cells >> cells.dtype.type(self.high) & cells.dtype.type(1), above, 0)
        return int(np.bitwise_or.reduce(cells ^ sign.astype(cells.dtype), axis=None)) & outside


@dataclass(frozen=True)
class File:
    """A DICOM as it lies in memory."""

    header: Elements
    syntax: str  # transfer syntax UID; "" where the file names none
    body: bytes  # the data set, inflated
    pixels: int  # where in it the pixels' element begins
    little_endian: bool
    implicit: bool


def read_file(data: bytes, limits: DicomLimits) -> File:
    """A file's header; neither preamble nor file meta information need be there.

    Raises:
        BadImage: a transfer syntax that isn't read, a deflated data set or a header above the
            limits, or no pixels.
        Exception: what pydicom raises for damage.
    """
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    start = _PREAMBLE if data[_PREAMBLE - 4 : _PREAMBLE] == b"DICM" else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters becomes a note
        head = BytesIO(data[start : start + _META_BYTES])
        meta = read_dataset(head, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
        start += head.tell()
        syntax = UID(Elements(meta).text("TransferSyntaxUID"))
        if not syntax:
            implicit, little = _guess_syntax(data[start : start + 6])
        elif syntax.is_private or not syntax.is_transfer_syntax:
            raise BadImage(f"private or unknown transfer syntax {syntax}")
        else:
            implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
        deflated = bool(syntax) and syntax.is_deflated
        body = _inflate(data, start, limits) if deflated else data[start:]
        head = BytesIO(body[: limits.max_header_bytes])
        reached: list[int] = []

        elements = count(1)

        def at_pixels(tag: int, *_: object) -> bool:
            if next(elements) > _MAX_ELEMENTS:
                raise BadImage(f"has more than {_MAX_ELEMENTS} elements before its pixels")
            if tag >> 16 == _PIXELS:
                reached.append(tag & 0xFFFF)
            return tag >> 16 == _PIXELS

        dataset = read_dataset(head, implicit, little, stop_when=at_pixels)
    if not reached and len(body) > limits.max_header_bytes:
        raise BadImage(f"has no pixels in its first {limits.max_header_bytes} bytes")
    if reached and reached[0] in (8, 9):
        raise BadImage("has floating-point pixels; whole numbers are accepted")
    # An explicit data set may say that it is implicit, and pydicom finds out.
    implicit = bool(dataset.original_encoding[0])
    at = head.tell() if reached else -1
    return File(Elements(dataset), str(syntax), body, at, little, implicit)


def read_layout(header: Elements) -> Layout:
    """The pixels' layout.

    Raises:
        BadImage: none that is read.
    """
    allocated = header.integer("BitsAllocated")
    bits = header.integer("BitsStored", allocated)
    high = header.integer("HighBit", bits - 1)
    if allocated not in _LAYOUTS or not 0 < bits <= allocated:
        raise BadImage(
            f"pixels of {bits} bits in cells of {allocated}; cells of 8, 16 or 32 are accepted"
        )
    if not bits - 1 <= high < allocated:  # there can't be that many bits below it
        header.unusable.append(f"HighBit '{high}'")
        high = bits - 1
    return Layout(
        header.integer("Rows"),
        header.integer("Columns"),
        allocated,
        bits,
        high,
        header.integer("PixelRepresentation") == 1,
    )


def read_cells(file: File, layout: Layout) -> tuple[np.ndarray, Layout]:
    """The pixels' cells, unsigned [rows, columns], and their layout once decoded.

    Raises:
        BadImage: a compression that isn't read, or has no decoder here.
        Exception: Damage, and what decoders raise for it.
    """
    from pydicom.uid import UID

    encapsulated = bool(file.syntax) and UID(file.syntax).is_encapsulated
    if encapsulated:
        refuse_unreadable(file.syntax)
    if file.pixels < 0:
        raise Damage("there are none")
    length, at, vr = _pixel_element(file)
    if length == _UNDEFINED and not file.syntax:
        raise BadImage("has compressed pixels and names no transfer syntax")
    if encapsulated != (length == _UNDEFINED):
        raise Damage("compressed, or not, against its transfer syntax")
    if encapsulated:
        frame = _join_fragments(file.body, at)
        precision = refuse_lies(frame, file.syntax, layout.rows, layout.columns)
        cells = decode(frame, file.syntax, layout, precision)
        if precision <= layout.high or precision < layout.bits:  # the stream knows better
            bits = min(layout.bits, precision)
            layout = Layout(
                layout.rows, layout.columns, 8 * cells.itemsize, bits, bits - 1, layout.signed
            )
        return cells, layout
    size = layout.rows * layout.columns * layout.allocated // 8
    there = min(length, len(file.body) - at)
    if there < size:
        raise Damage(f"{max(there, 0)} bytes of {size}")
    order = "<" if file.little_endian else ">"
    pixels, width = layout.rows * layout.columns, layout.allocated // 8
    if width == 1 and order == ">" and vr == b"OW":  # the bytes of each word change places
        words = np.frombuffer(file.body, ">u2", (pixels + 1) // 2, at)
        cells = words.astype("<u2").view(np.uint8)[:pixels]
    else:
        cells = np.frombuffer(file.body, f"{order}u{width}", pixels, at)
        cells = cells.astype(cells.dtype.newbyteorder("="), copy=False)
    return cells.reshape(layout.rows, layout.columns), layout


def surplus(file: File, layout: Layout) -> int:
    """Bytes behind uncompressed pixels that would hold a row or a column more; else 0."""
    length, at, _ = _pixel_element(file)
    width = layout.allocated // 8
    if length == _UNDEFINED:
        return 0
    rest = min(length, len(file.body) - at) - layout.rows * layout.columns * width
    return rest if rest >= min(layout.rows, layout.columns) * width else 0


def _guess_syntax(start: bytes) -> tuple[bool, bool]:
    """Whether a data set without file meta information is implicit, and little-endian."""
    little = len(start) < 2 or start[1] == 0  # its first group is below 256
    return not start[4:6].isalpha(), little


def _inflate(data: bytes, start: int, limits: DicomLimits) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(memoryview(data)[start:], limits.max_bytes)
    if inflater.unconsumed_tail:
        raise BadImage(f"inflates to more than {limits.max_bytes} bytes")
    return body


def _pixel_element(file: File) -> tuple[int, int, bytes]:
    """The pixels' length, where they begin, and their VR (b"" if implicit)."""
    at, order = file.pixels, "<" if file.little_endian else ">"
    vr = b"" if file.implicit else file.body[at + 4 : at + 6]
    if not file.implicit and vr not in _LONG:
        return struct.unpack_from(f"{order}H", file.body, at + 6)[0], at + 8, vr
    skip = 4 if file.implicit else 8
    return struct.unpack_from(f"{order}I", file.body, at + skip)[0], at + skip + 4, vr


def _join_fragments(body: bytes, at: int) -> bytes:
    """The fragments of the only frame, PS3.5 annex A.4; a table of offsets comes first."""
    parts: list[bytes] = []
    for number in range(_MAX_FRAGMENTS + 1):
        if at + 8 > len(body):
            break
        group, element, length = struct.unpack_from("<HHI", body, at)
        if group << 16 | element != _ITEM:
            break
        if number:
            parts.append(body[at + 8 : at + 8 + length])
        at += 8 + length
    else:
        raise BadImage(f"its pixels lie in more than {_MAX_FRAGMENTS} pieces")
    if not parts:
        raise Damage("there are none")
    return b"".join(parts)
