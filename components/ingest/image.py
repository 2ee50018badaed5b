"""Whether a file is a whole PNG or JPEG of a sane size, found without decoding it first.

What passes here passes schema.image_rules.check_image, whose rules are the models' own: no model is
refused for an image it was trained on. Beyond them every byte is looked at.
A PNG is checked from its structure alone: signature, header, the checksum of every chunk, and
that the pixel stream inflates to exactly the rows that the header promises, so what passes can
be decoded. Inflating uses ISA-L, which costs a tenth of decoding and resizing the image. In a
JPEG nothing protects the entropy-coded pixels: markers are walked to the end of the image, then
it is decoded. The sources are the PNG specification (W3C, 3rd edition) and ITU-T T.81.
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from isal import isal_zlib

from cxrflow.components.ingest.quarantine import Reason
from cxrflow.schema import image_rules as images
from cxrflow.schema.image_rules import PNG_END, PNG_START
from cxrflow.serving.pixels import pass_sizes, small_parts

_PNG_HEAD = 33  # bytes of signature and IHDR
_PALETTES = range(3, 3 * 256 + 1, 3)  # bytes

_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # a marker that is neither stuffing nor RST


@dataclass(frozen=True)
class Limits:
    """What an image may be; sides in pixels."""

    min_side: int
    max_side: int
    max_bytes: int


@dataclass(frozen=True)
class Header:
    """What an image says about itself."""

    kind: Literal["png", "jpeg"]
    width: int
    height: int


class BadImage(Exception):
    """An image that stays out of the run."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_image(path: str | Path, limits: Limits) -> tuple[bytes, Header]:
    """The bytes of a whole image; size and header are judged before the rest is read.

    Raises:
        BadImage: the file is not one that the run may decode.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            start = _judge_size(file, limits)
            if start.startswith(PNG_START):
                header = _judge_sides(png_header(start), limits)
                data = start + file.readall()
                verify_png(data)
                _hold_to_rules(data, limits)
            else:
                data = start + file.readall()
                header = _judge_sides(jpeg_header(data), limits)
                _hold_to_rules(data, limits)
                _decode_jpeg(data)
    except OSError as error:
        raise _unreadable(error) from None
    return data, header


def read_header(path: str | Path, limits: Limits) -> Header:
    """The same judgement from the first and the last bytes: flipped bits within go unseen.

    Raises:
        BadImage: the file is missing, empty, truncated, no PNG or JPEG, or breaks the limits.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            start = _judge_size(file, limits)
            if not start.startswith(PNG_START):
                data = start + file.readall()
                header = _judge_sides(jpeg_header(data), limits)
                _hold_to_rules(data, limits)
                return header
            header = _judge_sides(png_header(start), limits)
            size = os.fstat(file.fileno()).st_size
            file.seek(-min(size, images.MAX_PADDING + len(PNG_END)), os.SEEK_END)
            if not file.readall().rstrip(images.PADDING).endswith(PNG_END):
                raise BadImage(Reason.TRUNCATED, "does not end with PNG's last chunk")
            return header
    except OSError as error:
        raise _unreadable(error) from None


def png_header(data: bytes) -> Header:
    """Reads and checks the IHDR chunk, PNG's first 33 bytes.

    Raises:
        BadImage: truncated, or not a header that PNG allows.
    """
    if len(data) < _PNG_HEAD:
        raise BadImage(Reason.TRUNCATED, f"{len(data)} bytes, a PNG's header has {_PNG_HEAD}")
    width, height, *_ = _ihdr(data)
    return Header("png", width, height)


def verify_png(data: bytes) -> None:
    """Checks every byte of a PNG.

    Raises:
        BadImage: a chunk is cut short, fails its checksum, is out of place or unknown yet critical;
            the pixels do not inflate to what the header promises; it is animated (APNG: which of
            its pictures is the X-ray?); or bytes other than padding follow its end.
    """
    *_, colour, _ = _ihdr(data)
    view = memoryview(data)
    at, previous, palette = len(PNG_START), b"", False
    pixels: list[memoryview] = []
    while previous != b"IEND":
        if at + 12 > len(data):
            raise BadImage(Reason.TRUNCATED, f"ends after {len(data)} bytes, within a chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise BadImage(Reason.TRUNCATED, f"ends after {len(data)} bytes, not before {end}")
        if isal_zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise BadImage(Reason.CORRUPT, f"chunk at byte {at} fails its checksum")
        if kind == b"acTL":
            raise BadImage(Reason.ANIMATED, "animated PNG")
        critical = not kind[0] & 0x20 and at > len(PNG_START)  # after the header
        if kind == b"IDAT" and (previous == b"IDAT" or not pixels):
            pixels.append(view[at + 8 : end - 4])
        elif kind == b"PLTE" and not pixels and not palette and length in _PALETTES:
            palette = True
        elif critical and kind != b"IEND":
            raise BadImage(Reason.CORRUPT, f"chunk {kind!r} at byte {at} does not belong there")
        at, previous = end, kind
    _judge_rest(data[at:], "PNG")
    if colour == 3 and not palette:
        raise BadImage(Reason.CORRUPT, "a palette image without a palette")
    _verify_pixels(pixels, pass_sizes(*_ihdr(data)))


def jpeg_header(data: bytes) -> Header:
    """Walks a JPEG's markers to the end of the image.

    Raises:
        BadImage: not a JPEG, cut short, of a kind that is not decoded (lossless,
            arithmetic coding, 12 bits, four components), or bytes other than padding follow.
    """
    if not data.startswith(b"\xff\xd8"):
        reason = Reason.TRUNCATED if PNG_START.startswith(data) else Reason.NOT_PNG_OR_JPEG
        raise BadImage(reason, f"starts with {data[:8].hex(' ')}")
    header, at, in_scan = None, 2, False
    while True:
        if in_scan:
            found = _SCAN_END.search(data, at)
            at = found.end() - 2 if found else len(data)
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 2 > len(data):
            raise BadImage(Reason.TRUNCATED, f"ends after {len(data)} bytes, before its end marker")
        if data[at] != 0xFF:
            raise BadImage(Reason.CORRUPT, f"no marker at byte {at}")
        marker = data[at + 1]
        at += 2
        if marker == 0xD9:
            break
        if at + 2 > len(data):
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if marker in images.JPEG_FRAMES:
            header = _sof(data[at : at + length])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8):
            raise BadImage(Reason.CORRUPT, f"a kind of JPEG (SOF{marker - 0xC0}) that is not read")
        if length < 2:
            raise BadImage(Reason.CORRUPT, f"segment of {length} bytes at byte {at}")
        in_scan = marker == 0xDA
        at += length
    _judge_rest(data[at:], "JPEG")
    if header is None:
        raise BadImage(Reason.CORRUPT, "a JPEG without an image")
    return header


def _hold_to_rules(data: bytes, limits: Limits) -> None:
    """Raises BadImage for what a server or a model's graph would refuse."""
    try:
        images.check_image(data, images.ImageLimits(**asdict(limits)))
    except images.BadImage as error:
        raise BadImage(Reason.CORRUPT, error.reason) from None


def _judge_rest(rest: bytes, kind: str) -> None:
    if rest.strip(images.PADDING) or len(rest) > images.MAX_PADDING:
        raise BadImage(Reason.CORRUPT, f"{len(rest)} bytes follow the end of the {kind}")


def _judge_size(file, limits: Limits) -> bytes:
    """The first bytes of an open file whose size is within the limits."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise BadImage(Reason.EMPTY, "0 bytes")
    if size > limits.max_bytes:
        raise BadImage(Reason.TOO_LARGE_FILE, f"{size:,} bytes, at most {limits.max_bytes:,}")
    return file.read(_PNG_HEAD)


def _judge_sides(header: Header, limits: Limits) -> Header:
    sides = f"{header.width}×{header.height} pixels"
    if min(header.width, header.height) < limits.min_side:
        raise BadImage(Reason.TOO_SMALL, f"{sides}, each side at least {limits.min_side}")
    if max(header.width, header.height) > limits.max_side:
        raise BadImage(Reason.TOO_MANY_PIXELS, f"{sides}, each side at most {limits.max_side}")
    return header


def _unreadable(error: OSError) -> BadImage:
    missing = isinstance(error, FileNotFoundError)
    return BadImage(Reason.MISSING if missing else Reason.UNREADABLE, error.strerror or str(error))


def _ihdr(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, bit depth, colour type and interlacing, all valid."""
    try:
        return images.read_ihdr(data)
    except images.BadImage as error:
        raise BadImage(Reason.CORRUPT, error.reason) from None


def _verify_pixels(chunks: list[memoryview], passes: list[tuple[int, int]]) -> None:
    """Inflates the pixel stream: its length, its checksum and each row's filter type (0 to 4)."""
    expected = sum(rows * stride for rows, stride in passes)
    inflater = isal_zlib.decompressobj()
    total = 0
    try:
        for part in small_parts(chunks):
            piece = inflater.decompress(part)
            if any(max(filters, default=0) > 4 for filters in _filters(piece, total, passes)):
                raise BadImage(Reason.CORRUPT, "a row has an unknown filter type")
            total += len(piece)
            if total > expected or inflater.eof:
                break
    except isal_zlib.error as error:
        raise BadImage(Reason.CORRUPT, f"pixels do not inflate: {error}") from None
    if total != expected or not inflater.eof:
        raise BadImage(Reason.CORRUPT, f"pixels inflate to {total:,} bytes, not {expected:,}")


def _filters(piece: bytes, at: int, passes: list[tuple[int, int]]) -> Iterator[bytes]:
    """The filter bytes, one a row, of a piece of the pixels that begins `at` bytes into them."""
    begin = 0
    for rows, stride in passes:
        end = begin + rows * stride
        first = begin if at <= begin else at + (begin - at) % stride
        if first < end:
            yield piece[first - at : end - at : stride]
        begin = end


def _sof(segment: bytes) -> Header:
    if len(segment) < 8:
        raise BadImage(Reason.CORRUPT, "a JPEG frame header cut short")
    precision, height, width, components = struct.unpack_from(">BHHB", segment, 2)
    if not width or not height:
        raise BadImage(Reason.CORRUPT, "a JPEG without a size in its header")
    if precision != 8 or components not in images.JPEG_CHANNELS:
        raise BadImage(
            Reason.CORRUPT, f"a JPEG of {precision} bits and {components} components is not read"
        )
    return Header("jpeg", width, height)


def _decode_jpeg(data: bytes) -> None:
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=["JPEG"]) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(Reason.CORRUPT, f"does not decode: {error}") from None
