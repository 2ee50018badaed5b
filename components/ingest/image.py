"""Whether a file is a whole PNG or JPEG of a sane size.

The rules are those of schema.portable.image_rules, which server, models' graph and device keep,
too: no model is refused an image that it was trained on. Beyond them every byte is looked at.
A PNG is checked from its structure alone: the checksum of every chunk, their order, and that the
pixel stream inflates to exactly the rows that the header promises, so what passes can be decoded.
Inflating uses ISA-L, which costs a tenth of decoding and resizing the image. In a JPEG nothing
protects the entropy-coded pixels: it is decoded. The source is the PNG specification (W3C, 3rd
edition).
"""

import os
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from isal import isal_zlib

from cxrflow.components.ingest.quarantine import Reason
from cxrflow.schema.dicom.limits import DicomLimits
from cxrflow.schema.dicom.render import read_dicom
from cxrflow.schema.image_rules import BadImage as RefusedImage
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.portable import image_rules as rules
from cxrflow.schema.portable.image_rules import PNG_END, PNG_START, Header, Limits
from cxrflow.schema.portable.png_stream import Pass, passes, promised_bytes, small_parts

_PALETTES = range(3, 3 * 256 + 1, 3)  # bytes
_REASONS = {
    rules.EMPTY: Reason.EMPTY,
    rules.TOO_LARGE: Reason.TOO_LARGE_FILE,
    rules.UNKNOWN_FORMAT: Reason.NOT_PNG_OR_JPEG,
    rules.ANIMATED: Reason.ANIMATED,
}  # by the rule that an image breaks; Reason.CORRUPT where none stands here


ReadImage = Callable[[str | Path, Limits], tuple[bytes, Header]]


class BadImage(Exception):
    """An image that stays out of the run."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_image(path: str | Path, limits: Limits) -> tuple[bytes, Header]:
    """The bytes of a whole image; the file's size is judged before it is read.

    Raises:
        BadImage: the file is not one that the run may decode.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            _judge_size(os.fstat(file.fileno()).st_size, limits)
            data = file.readall()
    except OSError as error:
        raise _unreadable(error) from None
    header = _judge(data, limits)
    if header.format == "png":
        verify_png(data)
    else:
        _decode_jpeg(data)
    return data, header


def read_dicom_image(path: str | Path, limits: Limits) -> tuple[bytes, Header]:
    """A DICOM as the PNG that the client sends of it; shrunk where it is above `max_side`.

    Raises:
        BadImage: the client would send none; what the file says of its patient isn't repeated.
    """
    most = ImageLimits(
        min_side=limits.min_side, max_side=limits.max_side, max_bytes=limits.max_bytes
    )
    try:
        data = read_dicom(Path(path), most, DicomLimits()).png
    except RefusedImage as error:
        # What follows are a library's words, which may repeat an element's value.
        raise BadImage(Reason.BAD_DICOM, error.reason.partition(" (")[0]) from None
    except OSError as error:
        raise _unreadable(error) from None
    return data, _judge(data, limits)


def read_header(path: str | Path, limits: Limits) -> Header:
    """Judges an image by its first and last bytes alone: flipped bits within go unseen.

    Raises:
        BadImage: the file is missing, empty, truncated, no PNG or JPEG, or breaks the limits.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            _judge_size(size, limits)
            start = file.read(rules.IHDR_END)
            if not start.startswith(PNG_START):
                return _judge(start + file.readall(), limits)
            file.seek(-min(size, rules.MAX_PADDING + len(PNG_END)), os.SEEK_END)
            end = file.readall()
    except OSError as error:
        raise _unreadable(error) from None
    try:
        header = rules.check_png_header(start, limits)
    except rules.BadImage as error:
        raise _bad_image(error, start) from None
    if not end.rstrip(rules.PADDING).endswith(PNG_END):
        raise BadImage(Reason.TRUNCATED, "does not end with PNG's last chunk")
    return Header("png", header.width, header.height)


def verify_png(data: bytes) -> None:
    """Checks every byte of a PNG that keeps the rules.

    Raises:
        BadImage: a chunk is cut short, fails its checksum, is out of place or unknown yet critical;
            or the pixels do not inflate to what the header promises.
    """
    header = rules.read_ihdr(data)
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
        critical = not kind[0] & 0x20 and at > len(PNG_START)  # after the header
        if kind == b"IDAT" and (previous == b"IDAT" or not pixels):
            pixels.append(view[at + 8 : end - 4])
        elif kind == b"PLTE" and not pixels and not palette and length in _PALETTES:
            palette = True
        elif critical and kind != b"IEND":
            raise BadImage(Reason.CORRUPT, f"chunk {kind!r} at byte {at} does not belong there")
        at, previous = end, kind
    if header.colour == 3 and not palette:
        raise BadImage(Reason.CORRUPT, "a palette image without a palette")
    _verify_pixels(pixels, passes(*header))


def _judge(data: bytes, limits: Limits) -> Header:
    """Raises BadImage for what a server or a model's graph would refuse."""
    try:
        return rules.check_image(data, limits)
    except rules.BadImage as error:
        raise _bad_image(error, data) from None


def _judge_size(size: int, limits: Limits) -> None:
    try:
        rules.check_size(size, limits.max_bytes)
    except rules.BadImage as error:
        raise _bad_image(error, b"") from None


def _bad_image(error: rules.BadImage, data: bytes) -> BadImage:
    return BadImage(_reason(error, data), error.reason)


def _reason(error: rules.BadImage, data: bytes) -> Reason:
    """The heading under which a report counts what breaks a rule."""
    if error.rule == rules.SIDES:
        width, height, min_side, _ = error.values
        return Reason.TOO_SMALL if min(width, height) < min_side else Reason.TOO_MANY_PIXELS
    begun = data[: len(PNG_START)]
    if data and PNG_START.startswith(begun) and len(data) < rules.IHDR_END:
        return Reason.TRUNCATED
    if error.rule == rules.UNFINISHED:
        png = data.startswith(PNG_START)
        ended = PNG_END in data if png else rules.JPEG_END in data[data.rfind(rules.JPEG_SCAN) :]
        return Reason.CORRUPT if ended else Reason.TRUNCATED
    return _REASONS.get(error.rule, Reason.CORRUPT)


def _unreadable(error: OSError) -> BadImage:
    missing = isinstance(error, FileNotFoundError)
    return BadImage(Reason.MISSING if missing else Reason.UNREADABLE, error.strerror or str(error))


def _verify_pixels(chunks: list[memoryview], parts: list[Pass]) -> None:
    """Inflates the pixel stream: its length, its checksum and each row's filter type (0 to 4)."""
    expected = promised_bytes(parts)
    inflater = isal_zlib.decompressobj()
    total = 0
    try:
        for part in small_parts(chunks):
            piece = inflater.decompress(part)
            if any(max(filters, default=0) > 4 for filters in _filters(piece, total, parts)):
                raise BadImage(Reason.CORRUPT, "a row has an unknown filter type")
            total += len(piece)
            if total > expected or inflater.eof:
                break
    except isal_zlib.error as error:  # type: ignore[misc]  # isal declares no class
        raise BadImage(Reason.CORRUPT, f"pixels do not inflate: {error}") from None
    if total != expected or not inflater.eof:
        raise BadImage(Reason.CORRUPT, f"pixels inflate to {total:,} bytes, not {expected:,}")


def _filters(piece: bytes, at: int, parts: list[Pass]) -> Iterator[bytes]:
    """The filter bytes, one a row, of a piece of the pixels that begins `at` bytes into them."""
    begin = 0
    for part in parts:
        stride, end = part.stride, begin + part.height * part.stride
        first = begin if at <= begin else at + (begin - at) % stride
        if first < end:
            yield piece[first - at : end - at : stride]
        begin = end


def _decode_jpeg(data: bytes) -> None:
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=["JPEG"]) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(Reason.CORRUPT, f"does not decode: {error}") from None
