"""Compressed pixels of a DICOM: what their own headers say, and their decoders.

Decoders believe the stream, not the file around it: one that says 65,535 x 65,535 is found first.
"""

import importlib.util
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrflow.schema.image_rules import BadImage

if TYPE_CHECKING:
    from cxrflow.schema.dicom.file import Layout

_RLE = "1.2.840.10008.1.2.5"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEGS = ("1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.7", "1.2.840.10008.1.2.4.8")
_JPEG_2000S = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")
# JPEG baseline and extended, JPEG-LS near-lossless, JPEG 2000 and its high-throughput kind.
_LOSSY = (
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"),
    *("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"),
)
_SIZ = b"\xff\x4f\xff\x51"  # JPEG 2000's start and its first segment, ITU-T T.800 annex A
_SIZ_WITHIN = 4096  # bytes; some writers put a JP2 file's boxes before them
_SCAN = re.compile(b"\xff\xda")
_MAX_SCANS = 64  # each costs a pass over all pixels
_MAX_SEGMENTS = 1000  # of a JPEG before its frame header
_SECONDS = 60  # that GDCM may take


class Damage(Exception):
    """Pixels that can't be decoded; its text says why."""


def refuse_unreadable(syntax: str) -> None:
    """Raises BadImage for compressed pixels for which there is no decoder, here or at all."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    if syntax == _RLE:
        return
    uid = UID(syntax)
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        raise BadImage(f"transfer syntax {uid.name} isn't supported") from None
    if not decoder.is_available:
        raise _no_decoder(uid.name, "; ".join(decoder.missing_dependencies))


def refuse_lies(frame: bytes, syntax: str, rows: int, columns: int) -> int:
    """The bits a sample of a compressed frame, as its own header says.

    Raises:
        BadImage: it isn't gray.
        Damage: it has not `rows` and `columns`.
    """
    if syntax == _RLE:
        return 32
    if syntax.startswith(_JPEGS):
        height, width, channels, bits = _jpeg_header(frame)
        if len(_SCAN.findall(frame)) > _MAX_SCANS:
            raise BadImage(f"a JPEG of more than {_MAX_SCANS} scans")
    elif syntax.startswith(_JPEG_2000S):
        height, width, channels, bits = _jpeg_2000_header(frame)
    else:
        return 32
    if channels != 1:
        raise BadImage(f"pixels of {channels} channels; one is accepted")
    if (height, width) != (rows, columns):
        raise Damage(f"compressed are {width}x{height} pixels, its header says {columns}x{rows}")
    return bits


def decode(frame: bytes, syntax: str, layout: "Layout", precision: int) -> np.ndarray:
    """A frame's cells, unsigned [rows, columns]; `precision` is what `refuse_lies` found.

    Raises:
        BadImage: no decoder is installed.
        Exception: Damage, and what decoders raise for it.
    """
    if syntax == _RLE:
        return _decode_rle(frame, layout)
    plugin = "" if syntax == _JPEG_EXTENDED and precision > 8 else _plugin(syntax)
    if plugin:
        cells = _decode(frame, syntax, layout, precision, plugin)
    elif importlib.util.find_spec("gdcm"):
        cells = _decode_apart(frame, syntax, layout, precision)
    else:
        raise _no_decoder("JPEG Extended of 12 bits", "gdcm - requires python-gdcm")
    if syntax in _LOSSY and not layout.signed and layout.high == layout.bits - 1:
        # Near white, what was lost may take values above those that were stored.
        most = cells.dtype.type(2 ** min(layout.bits, 8 * cells.itemsize) - 1)
        return np.asarray(np.minimum(cells, most))
    return cells


def _plugin(syntax: str) -> str:
    """The first of pydicom's decoders here; none if there is but GDCM."""
    from pydicom.pixels.decoders.base import get_decoder

    return next((name for name in get_decoder(syntax).available_plugins if name != "gdcm"), "")


def _decode(frame: bytes, syntax: str, layout: "Layout", precision: int, plugin: str) -> np.ndarray:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    options: dict[str, Any] = {
        "transfer_syntax_uid": UID(syntax),
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": layout.allocated,
        "bits_stored": min(precision, layout.allocated),
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    decoded, _ = get_decoder(syntax).as_array(
        encapsulate([frame]), raw=True, decoding_plugin=plugin, **options
    )
    if decoded.shape != (layout.rows, layout.columns) or decoded.dtype.kind not in "iu":
        raise Damage(f"decoded to {decoded.shape} of {decoded.dtype}")
    return np.ascontiguousarray(decoded).view(f"u{decoded.itemsize}")


def _no_decoder(name: str, missing: str) -> BadImage:
    """The reason that isn't damage."""
    return BadImage(f"compressed as {name}, and no decoder is installed: {missing}")


def _jpeg_header(frame: bytes) -> tuple[int, int, int, int]:
    """Height, width, channels and bits of a JPEG, JPEG Lossless or JPEG-LS (ITU-T T.81, T.87)."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if not frame.startswith(b"\xff\xd8") or at + 10 > len(frame) or frame[at] != 0xFF:
            break
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, height, width, channels = struct.unpack_from(">BHHB", frame, at + 4)
            return height, width, channels, bits
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    raise Damage("no JPEG header")


def _jpeg_2000_header(frame: bytes) -> tuple[int, int, int, int]:
    at = frame.find(_SIZ, 0, _SIZ_WITHIN)
    if at < 0 or at + 43 > len(frame):
        raise Damage("no JPEG 2000 header")
    width, height, left, top = struct.unpack_from(">IIII", frame, at + 8)
    channels, depth = struct.unpack_from(">HB", frame, at + 40)
    return height - top, width - left, channels, (depth & 0x7F) + 1


def _decode_rle(frame: bytes, layout: "Layout") -> np.ndarray:
    """PS3.5 annex G: a segment for each byte of a cell, the highest first, in PackBits.

    pydicom's own goes to the end of a segment, however large it grows.
    """
    size, planes = layout.rows * layout.columns, layout.allocated // 8
    count, *starts = struct.unpack_from("<16I", frame)
    if count != planes:
        raise Damage(f"{count} segments for cells of {planes} bytes")
    ends = [*starts[1:planes], len(frame)]
    cells = np.empty((size, planes), np.uint8)
    for plane, (start, end) in enumerate(zip(starts, ends, strict=False)):
        cells[:, planes - 1 - plane] = np.frombuffer(_unpack_bits(frame[start:end], size), np.uint8)
    return cells.view(f"<u{planes}").reshape(layout.rows, layout.columns)


def _unpack_bits(packed: bytes, size: int) -> bytearray:
    if len(packed) > 2 * size + 64:  # no writer needs more
        raise Damage("a segment of more bytes than pixels need")
    out, at = bytearray(), 0
    while len(out) < size and at + 1 < len(packed):
        head = packed[at]
        if head < 128:
            out += packed[at + 1 : at + 2 + head]
            at += 2 + head
        else:
            if head > 128:
                out += packed[at + 1 : at + 2] * (257 - head)
                at += 1
            at += 1
    if len(out) < size:
        raise Damage(f"a segment unpacks to {len(out)} bytes of {size}")
    return out[:size]


def _decode_apart(frame: bytes, syntax: str, layout: "Layout", precision: int) -> np.ndarray:
    """By GDCM, which may take its process down with it."""
    program = str(Path(__file__).with_name("run_gdcm.py"))
    sizes = map(str, (layout.rows, layout.columns, precision))
    command = [sys.executable, "-I", program, syntax, *sizes]
    try:
        done = subprocess.run(
            command, input=frame, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Damage(f"no result within {_SECONDS} s") from None
    cell = np.dtype("u1" if precision <= 8 else "<u2")
    size = layout.rows * layout.columns * cell.itemsize
    if done.returncode or len(done.stdout) != size:
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise Damage(f"GDCM: {last}")
    return np.frombuffer(done.stdout, cell).reshape(layout.rows, layout.columns)
