"""Whether bytes are a PNG or JPEG that may be decoded, told in microseconds without decoding.

Server and client call `check_image`; the models' graph applies the same rules with its own ops
(components/transform/guard.py) and gives the same reasons, whose templates stand here. A PNG whose
pixels inflate to more than its header promises is found by serving.pixels; no op of a graph can
tell. What only decoding can show (flipped bits in the pixels) is left to the decoder: see DAMAGED.
The sources are the PNG specification (W3C, 3rd edition) and ITU-T T.81.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.settings import Positive, settings

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk, always these 12 bytes
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
JPEG_SCAN = b"\xff\xda"
# Baseline, extended and progressive; decoders disagree about lossless and arithmetic-coded ones.
JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
JPEG_CHANNELS = (1, 3)
# Within a scan's pixels a zero follows every 0xFF, so these two are markers.
_SCAN_OR_END = re.compile(b"\xff[\xda\xd9]")
MAX_PARTS = 256  # PNG chunks or JPEG segments before the pixels; files have a dozen
MAX_SCANS = 64  # of a progressive JPEG, which has about 10; each costs a pass over all pixels
MAX_CHUNKS = 2**14  # of a PNG from its first pixels on; writers use 8 KB and more for each
# Encoders in hardware fill a buffer up with zeros or 0xFF; anything else after an image's end may
# be another file, that other programs see.
PADDING = b"\0\xff"
MAX_PADDING = 2**20  # bytes
# Decoders inflate these chunks, wherever they stand, to 8 MB each (libpng's limit) and a thousand
# times their size: from 8 KB on, a chunk costs the same. Eight of them cost less than large pixels.
TEXT_CHUNKS = (b"zTXt", b"iTXt", b"iCCP")
TEXT_BYTES = 2**13  # at most counted of a chunk
MAX_TEXT = 2**16  # bytes in all
MAX_WALKED = 2**12  # chunks from the pixels on, where such names stand: the graph is slow to walk
_TEXT_NAME = re.compile(b"|".join(TEXT_CHUNKS))

# Why an image is refused, in the order of the checks.
EMPTY = "empty"
TOO_LARGE = "{} bytes; at most {} are accepted"
UNKNOWN_FORMAT = "neither a PNG nor a JPEG"
BAD_HEADER = "not a valid {} header"
SIDES = "{}x{} pixels; each side must have {} to {}"
JPEG_KIND = "a JPEG of {} channels and {} bits, SOF{}; baseline or progressive, gray or colour of 8 bits is accepted"  # fmt: skip  # noqa: E501
ANIMATED = "an animated PNG"
SCANS = "a JPEG of more than {} scans"
TEXT = "its compressed comments are too many or too large"
PIECES = "its pixels lie in more than {} pieces"
UNFINISHED = "cut short, or other bytes follow the end of the image"
# For what passes the checks, and the decoder refuses.
DAMAGED = "damaged: its pixels cannot be decoded"


@settings
class ImageLimits:
    """What an image may be. A model's graph has the defaults built in."""

    min_side: Positive = 64
    """Shortest side, in pixels."""
    max_side: Positive = 5120
    """Longest side, in pixels; detectors have up to some 4,300."""
    max_bytes: Positive = 16 * 2**20
    """Largest file, in bytes."""


@dataclass(frozen=True)
class Header:
    """What an image says about itself; sides in pixels, before any EXIF rotation."""

    format: Literal["png", "jpeg"]
    width: int
    height: int


class BadImage(CxrflowError):
    """An image that is not decoded; `reason` is one line for whoever sent it."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def check_image(data: bytes, limits: ImageLimits) -> Header:
    """The header of a PNG or JPEG that keeps the limits.

    Microseconds for a PNG of few chunks; the search for a JPEG's end takes 0.3 ms a megabyte.

    Raises:
        BadImage: empty, above `max_bytes`, no PNG or JPEG, an invalid header, a side outside the
            limits, a kind of JPEG that is not decoded (CMYK, 12 bits, lossless, arithmetic
            coding) or of too many scans, an animated PNG, one of too many chunks or compressed
            comments, truncated, or followed by other bytes than padding.
    """
    if not data:
        raise BadImage(EMPTY)
    if len(data) > limits.max_bytes:
        raise BadImage(TOO_LARGE.format(len(data), limits.max_bytes))
    if data.startswith(PNG_START):
        return _check_png(data, limits)
    if data.startswith(JPEG_START):
        return _check_jpeg(data, limits)
    raise BadImage(UNKNOWN_FORMAT)


def read_ihdr(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, bit depth, colour type and interlacing from a PNG's first 33 bytes.

    Raises:
        BadImage: too few bytes, a wrong checksum, or a combination that PNG does not allow.
    """
    try:
        length, kind, width, height, depth, colour, compression, filtering, interlace, crc = (
            struct.unpack_from(">I4sIIBBBBBI", data, len(PNG_START))
        )
    except struct.error:
        raise BadImage(BAD_HEADER.format("PNG")) from None
    valid = (
        (length, kind) == (13, b"IHDR")
        and 0 < width < 2**31
        and 0 < height < 2**31
        and depth in PNG_DEPTHS.get(colour, ())
        and (compression, filtering) == (0, 0)
        and interlace in (0, 1)
        and zlib.crc32(data[12:29]) == crc
    )
    if not valid:
        raise BadImage(BAD_HEADER.format("PNG"))
    return width, height, depth, colour, interlace


def _check_png(data: bytes, limits: ImageLimits) -> Header:
    width, height, *_ = read_ihdr(data)
    _check_sides(width, height, limits)
    at, text = 33, 0
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            raise BadImage(UNFINISHED)
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"acTL":
            raise BadImage(ANIMATED)
        if kind == b"IDAT":
            break
        text += _compressed_text(data, at, length, kind)
        at += 12 + length
    else:
        raise BadImage(BAD_HEADER.format("PNG"))
    _check_from_pixels(data, at, text)
    if not data[-MAX_PADDING - len(PNG_END) :].rstrip(PADDING).endswith(PNG_END):
        raise BadImage(UNFINISHED)
    return Header("png", width, height)


def _check_from_pixels(data: bytes, at: int, text: int) -> None:
    """The chunks from a PNG's first pixels on; those that are damaged are the decoder's to judge.

    Raises:
        BadImage: too many, too many compressed comments, or other bytes follow the last one.
    """
    most = MAX_WALKED if _TEXT_NAME.search(data) else MAX_CHUNKS
    for _ in range(most + 1):
        if text > MAX_TEXT:
            raise BadImage(TEXT)
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            if data[at + 12 + length :].strip(PADDING):
                raise BadImage(UNFINISHED)
            return
        text += _compressed_text(data, at, length, kind)
        at += 12 + length
    raise BadImage(PIECES.format(most))


def _compressed_text(data: bytes, at: int, length: int, kind: bytes) -> int:
    """The bytes of a chunk that count as compressed comment: 0 of others."""
    if kind not in TEXT_CHUNKS:
        return 0
    if kind == b"iTXt":  # a keyword, a zero, and whether it is compressed
        keyword_end = data.find(b"\0", at + 8, at + 8 + 80)
        if keyword_end < 0 or data[keyword_end + 1 : keyword_end + 2] in (b"", b"\0"):
            return 0
    return min(length, TEXT_BYTES)


def _check_jpeg(data: bytes, limits: ImageLimits) -> Header:
    frame, at = None, len(JPEG_START)
    for _ in range(MAX_PARTS):
        if at + 4 > len(data):
            raise BadImage(UNFINISHED)
        start, marker, length = struct.unpack_from(">BBH", data, at)
        if start == marker == 0xFF:  # a fill byte
            at += 1
            continue
        if start != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            raise BadImage(BAD_HEADER.format("JPEG"))
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame or length < 8 or at + 10 > len(data):
                raise BadImage(BAD_HEADER.format("JPEG"))
            frame = marker, *struct.unpack_from(">BHHB", data, at + 4)
        at += 2 + length
    else:
        raise BadImage(BAD_HEADER.format("JPEG"))
    if frame is None:
        raise BadImage(BAD_HEADER.format("JPEG"))
    marker, bits, height, width, channels = frame
    if not width or not height:
        raise BadImage(BAD_HEADER.format("JPEG"))
    _check_sides(width, height, limits)
    if marker not in JPEG_FRAMES or bits != 8 or channels not in JPEG_CHANNELS:
        raise BadImage(JPEG_KIND.format(channels, bits, marker - 0xC0))
    for scans, mark in enumerate(_SCAN_OR_END.finditer(data, at)):
        if mark[0] == JPEG_END:
            rest = data[mark.end() :]
            if len(rest) > MAX_PADDING or rest.strip(PADDING):
                raise BadImage(UNFINISHED)
            return Header("jpeg", width, height)
        if scans == MAX_SCANS:
            raise BadImage(SCANS.format(MAX_SCANS))
    raise BadImage(UNFINISHED)


def _check_sides(width: int, height: int, limits: ImageLimits) -> None:
    if min(width, height) < limits.min_side or max(width, height) > limits.max_side:
        raise BadImage(SIDES.format(width, height, limits.min_side, limits.max_side))
