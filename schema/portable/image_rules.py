"""Which image is accepted: one authority for ingest, client, server, models' graph and device.

Whether bytes are a PNG or JPEG that may be decoded is told in microseconds, without decoding. The
graph of a model applies the same rules with its own ops (components/images/guard.py) and gives the
same reasons, whose templates stand here. A PNG whose pixels inflate to more than its header
promises is found by whoever inflates them (png_stream.py); no op of a graph can tell. What only
decoding can show (flipped bits in the pixels) is left to the decoder: see DAMAGED.
Standard library only, and imports none of its neighbours: the device has it as a copied file.
The sources are the PNG specification (W3C, 3rd edition) and ITU-T T.81.
"""

import re
import struct
import zlib
from typing import Any, NamedTuple, Optional, Tuple

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk, always these 12 bytes
IHDR_END = 33  # bytes: where a PNG's first chunk, its header, ends
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


class Limits(NamedTuple):
    """What an image may be."""

    min_side: int  # pixels
    max_side: int
    max_bytes: int  # of the file


class Header(NamedTuple):
    """What an image says about itself; sides in pixels, before any EXIF rotation."""

    format: str  # png or jpeg
    width: int
    height: int


class Ihdr(NamedTuple):
    """A PNG's header, valid."""

    width: int  # pixels
    height: int
    depth: int  # bits of a channel
    colour: int  # the colour type, a key of PNG_DEPTHS
    interlaced: int  # 1 if the pixels come in Adam7's passes


class BadImage(Exception):
    """An image that is not accepted.

    Attributes:
        reason: one line for whoever sent it.
        rule: the template of the reason, one of those above.
        values: what it was filled with.
    """

    def __init__(self, rule: str, *values: Any) -> None:
        self.rule, self.values = rule, values
        self.reason = rule.format(*values) if values else rule
        super().__init__(self.reason)


def check_image(data: bytes, limits: Limits) -> Header:
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
    check_size(len(data), limits.max_bytes)
    if data.startswith(PNG_START):
        return _check_png(data, limits)
    if data.startswith(JPEG_START):
        return _check_jpeg(data, limits)
    raise BadImage(UNKNOWN_FORMAT)


def check_size(size: int, max_bytes: int) -> None:
    """Raises BadImage if a file of `size` bytes is too large."""
    if size > max_bytes:
        raise BadImage(TOO_LARGE, size, max_bytes)


def check_png_header(data: bytes, limits: Limits) -> Ihdr:
    """The header in a PNG's first 33 bytes, whose sides keep the limits.

    Raises:
        BadImage: as `read_ihdr`, or a side is outside the limits.
    """
    header = read_ihdr(data)
    _check_sides(header.width, header.height, limits)
    return header


def read_ihdr(data: bytes) -> Ihdr:
    """The header in a PNG's first 33 bytes.

    Raises:
        BadImage: too few bytes, a wrong checksum, or a combination that PNG does not allow.
    """
    try:
        length, kind, width, height, depth, colour, compression, filtering, interlace, crc = (
            struct.unpack_from(">I4sIIBBBBBI", data, len(PNG_START))
        )
    except struct.error:
        raise BadImage(BAD_HEADER, "PNG") from None
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
        raise BadImage(BAD_HEADER, "PNG")
    return Ihdr(width, height, depth, colour, interlace)


def _check_png(data: bytes, limits: Limits) -> Header:
    header = check_png_header(data, limits)
    at, text = IHDR_END, 0
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
        raise BadImage(BAD_HEADER, "PNG")
    _check_from_pixels(data, at, text)
    if not data[-MAX_PADDING - len(PNG_END) :].rstrip(PADDING).endswith(PNG_END):
        raise BadImage(UNFINISHED)
    return Header("png", header.width, header.height)


def _check_from_pixels(data: bytes, at: int, text: int) -> None:
    """The chunks from a PNG's first pixels on; those that are damaged are the decoder's to judge.

    Raises:
        BadImage: too many, too many compressed comments, or other bytes follow the last one.
    """
    for walked in range(MAX_CHUNKS + 1):
        # Only here is it worth a search, which takes longer than all other checks of an X-ray.
        if walked == MAX_WALKED + 1 and any(name in data for name in TEXT_CHUNKS):
            raise BadImage(PIECES, MAX_WALKED)
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
    raise BadImage(PIECES, MAX_CHUNKS)


def _compressed_text(data: bytes, at: int, length: int, kind: bytes) -> int:
    """The bytes of a chunk that count as compressed comment: 0 of others."""
    if kind not in TEXT_CHUNKS:
        return 0
    if kind == b"iTXt":  # a keyword, a zero, and whether it is compressed
        keyword_end = data.find(b"\0", at + 8, at + 8 + 80)
        if keyword_end < 0 or data[keyword_end + 1 : keyword_end + 2] in (b"", b"\0"):
            return 0
    return min(length, TEXT_BYTES)


def _check_jpeg(data: bytes, limits: Limits) -> Header:
    frame: Optional[Tuple[int, int, int, int, int]] = None
    at = len(JPEG_START)
    for _ in range(MAX_PARTS):
        if at + 4 > len(data):
            raise BadImage(UNFINISHED)
        start, marker, length = struct.unpack_from(">BBH", data, at)
        if start == marker == 0xFF:  # a fill byte
            at += 1
            continue
        if start != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            raise BadImage(BAD_HEADER, "JPEG")
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame or length < 8 or at + 10 > len(data):
                raise BadImage(BAD_HEADER, "JPEG")
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            frame = marker, bits, height, width, channels
        at += 2 + length
    else:
        raise BadImage(BAD_HEADER, "JPEG")
    if frame is None:
        raise BadImage(BAD_HEADER, "JPEG")
    marker, bits, height, width, channels = frame
    if not width or not height:
        raise BadImage(BAD_HEADER, "JPEG")
    _check_sides(width, height, limits)
    if marker not in JPEG_FRAMES or bits != 8 or channels not in JPEG_CHANNELS:
        raise BadImage(JPEG_KIND, channels, bits, marker - 0xC0)
    for scans, mark in enumerate(_SCAN_OR_END.finditer(data, at)):
        if mark.group() == JPEG_END:
            rest = data[mark.end() :]
            if len(rest) > MAX_PADDING or rest.strip(PADDING):
                raise BadImage(UNFINISHED)
            return Header("jpeg", width, height)
        if scans == MAX_SCANS:
            raise BadImage(SCANS, MAX_SCANS)
    raise BadImage(UNFINISHED)


def _check_sides(width: int, height: int, limits: Limits) -> None:
    if min(width, height) < limits.min_side or max(width, height) > limits.max_side:
        raise BadImage(SIDES, width, height, limits.min_side, limits.max_side)
