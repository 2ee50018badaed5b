"""From a PNG's or JPEG's bytes to the pixels the network sees, with Pillow and NumPy alone.

The pixels are those of Transform (components/transform/images.py), the verdicts those of the
models' graph (components/transform/guard.py), whose rules and reasons stand here again because the
device has neither.
"""

import re
import struct
import zlib
from functools import lru_cache
from io import BytesIO
from typing import List, Tuple

import numpy as np
from PIL import Image

import png_pixels
from bundle import Preprocessing
from png_pixels import DEPTHS, BadImage, to_uint8

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_SCAN_OR_END = re.compile(b"\xff[\xda\xd9]")
_MAX_PARTS = 256  # PNG chunks or JPEG segments before the pixels
_MAX_SCANS = 64  # of a progressive JPEG
_MAX_CHUNKS = 2**14  # of a PNG from its first pixels on
_PADDING = b"\0\xff"  # what encoders in hardware fill up with
_MAX_PADDING = 2**20  # bytes
_TEXT_BYTES = 2**13  # at most counted of a chunk with a compressed comment
_MAX_TEXT = 2**16  # bytes in all
_MAX_WALKED = 2**12  # chunks from the pixels on, where such names stand
_TEXT_NAME = re.compile(b"zTXt|iTXt|iCCP")

_UNFINISHED = "cut short, or other bytes follow the end of the image"


def prepare(data: bytes, how: Preprocessing) -> np.ndarray:
    """A file's bytes to uint8 [S, S] of `how.image_size`, 0 is black.

    Raises:
        BadImage: schema.image_rules.check_image refuses it, or it cannot be decoded.
    """
    image = to_square(decode(data, how), how.compact_size)
    if how.encoding == "jpeg":
        image = _through_jpeg(image, how.jpeg_quality)
    return to_square(image, how.image_size)


def decode(data: bytes, limits: Preprocessing) -> np.ndarray:
    """A file's bytes to gray, uint8 [height, width]; see `prepare`."""
    if not data:
        raise BadImage("empty")
    refuse_size(len(data), limits.max_bytes)
    try:
        if data.startswith(_PNG_START):
            return png_pixels.decode(data, png_pixels.Header(*_check_png(data, limits)))
        if data.startswith(_JPEG_START):
            return _decode_jpeg(data, _check_jpeg(data, limits))
    except (OSError, ValueError, zlib.error, struct.error):  # Pillow's for what it can't decode
        raise BadImage("damaged: its pixels cannot be decoded") from None
    raise BadImage("neither a PNG nor a JPEG")


def refuse_size(size: int, max_bytes: int) -> None:
    """Raises BadImage if a file of `size` bytes is too large."""
    if size > max_bytes:
        raise BadImage(f"{size} bytes; at most {max_bytes} are accepted")


def to_square(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [height, width] to uint8 [size, size], the aspect kept and the rest black.

    A square of twice the size becomes the mean of 2x2 pixels, everything else is interpolated.
    """
    if image.shape == (size, size):
        return image
    if image.shape == (2 * size, 2 * size):
        pairs = image[0::2].astype(np.uint16) + image[1::2]
        return ((pairs[:, 0::2] + pairs[:, 1::2] + 2) >> 2).astype(np.uint8)
    sides = np.array(image.shape, np.float32)
    inner = np.rint(sides * (np.float32(size) / sides.max())).astype(int)
    height, width = (max(1, int(side)) for side in inner)
    square = np.zeros((size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = _resize(image, height, width)
    return square


def _check_png(data: bytes, limits: Preprocessing) -> Tuple[int, int, int, int, int]:
    """Width, height, bit depth, colour type and interlacing of a PNG that keeps the rules."""
    bad = BadImage("not a valid PNG header")
    try:
        length, kind, width, height, depth, colour, method, filters, interlaced, crc = (
            struct.unpack_from(">I4sIIBBBBBI", data, len(_PNG_START))
        )
    except struct.error:
        raise bad from None
    valid = (
        (length, kind) == (13, b"IHDR")
        and 0 < width < 2**31
        and 0 < height < 2**31
        and depth in DEPTHS.get(colour, ())
        and (method, filters) == (0, 0)
        and interlaced in (0, 1)
        and zlib.crc32(data[12:29]) == crc
    )
    if not valid:
        raise bad
    _check_sides(width, height, limits)
    at, text = 33, 0
    for _ in range(_MAX_PARTS):
        if at + 8 > len(data):
            raise BadImage(_UNFINISHED)
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"acTL":
            raise BadImage("an animated PNG")
        if kind == b"IDAT":
            break
        text += _compressed_text(data, at, length, kind)
        at += 12 + length
    else:
        raise bad
    _check_from_pixels(data, at, text)
    if not data[-_MAX_PADDING - len(_PNG_END) :].rstrip(_PADDING).endswith(_PNG_END):
        raise BadImage(_UNFINISHED)
    return width, height, depth, colour, interlaced


def _check_from_pixels(data: bytes, at: int, text: int) -> None:
    """The chunks from a PNG's first pixels on, of which those that are damaged come up later."""
    most = _MAX_WALKED if _TEXT_NAME.search(data) else _MAX_CHUNKS
    for _ in range(most + 1):
        if text > _MAX_TEXT:
            raise BadImage("its compressed comments are too many or too large")
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            if data[at + 12 + length :].strip(_PADDING):
                raise BadImage(_UNFINISHED)
            return
        text += _compressed_text(data, at, length, kind)
        at += 12 + length
    raise BadImage(f"its pixels lie in more than {most} pieces")


def _compressed_text(data: bytes, at: int, length: int, kind: bytes) -> int:
    """The bytes of a chunk that count as compressed comment: 0 of others."""
    if kind not in (b"zTXt", b"iTXt", b"iCCP"):
        return 0
    if kind == b"iTXt":  # a keyword, a zero, and whether it is compressed
        keyword_end = data.find(b"\0", at + 8, at + 8 + 80)
        if keyword_end < 0 or data[keyword_end + 1 : keyword_end + 2] in (b"", b"\0"):
            return 0
    return min(length, _TEXT_BYTES)


def _check_jpeg(data: bytes, limits: Preprocessing) -> Tuple[int, int]:
    """Width and height of a JPEG that keeps the rules."""
    bad = BadImage("not a valid JPEG header")
    frame, at = None, len(_JPEG_START)  # type: Optional[Tuple[int, int, int, int, int]], int
    for _ in range(_MAX_PARTS):
        if at + 4 > len(data):
            raise BadImage(_UNFINISHED)
        start, marker, length = struct.unpack_from(">BBH", data, at)
        if start == marker == 0xFF:  # a fill byte
            at += 1
            continue
        if start != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            raise bad
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame or length < 8 or at + 10 > len(data):
                raise bad
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            frame = marker, bits, height, width, channels
        at += 2 + length
    else:
        raise bad
    if frame is None:
        raise bad
    marker, bits, height, width, channels = frame
    if not width or not height:
        raise bad
    _check_sides(width, height, limits)
    if marker not in _JPEG_FRAMES or bits != 8 or channels not in (1, 3):
        raise BadImage(
            f"a JPEG of {channels} channels and {bits} bits, SOF{marker - 0xC0}; baseline or"
            " progressive, gray or colour of 8 bits is accepted"
        )
    for scans, mark in enumerate(_SCAN_OR_END.finditer(data, at)):
        if mark.group() == _JPEG_END:
            rest = data[mark.end() :]
            if len(rest) > _MAX_PADDING or rest.strip(_PADDING):
                raise BadImage(_UNFINISHED)
            return width, height
        if scans == _MAX_SCANS:
            raise BadImage(f"a JPEG of more than {_MAX_SCANS} scans")
    raise BadImage(_UNFINISHED)


def _check_sides(width: int, height: int, limits: Preprocessing) -> None:
    if min(width, height) < limits.min_side or max(width, height) > limits.max_side:
        raise BadImage(
            f"{width}x{height} pixels; each side must have {limits.min_side} to {limits.max_side}"
        )


def _decode_jpeg(data: bytes, size: Tuple[int, int]) -> np.ndarray:
    """Luminance of a JPEG of width and height `size`; raises OSError or ValueError."""
    return np.asarray(Image.frombytes("L", size, data, "jpeg", ("L", "", 1, 0)))


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What Transform's JPEG leaves of uint8 [S, S]."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return _decode_jpeg(buffer.getvalue(), (image.shape[1], image.shape[0]))


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [h, w] to uint8 [height, width] as tf.image.resize(antialias=True) does it.

    The sums run in TensorFlow's order, in float32: rows first, one tap after the other.
    """
    rows = np.zeros((height, image.shape[1]), np.float32)
    for source, weights in _taps(image.shape[0], height):
        rows += image[source] * weights
    rows = np.ascontiguousarray(rows.T)
    columns = np.zeros((width, height), np.float32)
    for source, weights in _taps(image.shape[1], width):
        columns += rows[source] * weights
    return to_uint8(columns.T)


@lru_cache(maxsize=64)
def _taps(before: int, after: int) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Which pixels, int [after], count how much, float32 [after, 1], for each of `after` pixels.

    The triangle kernel of TensorFlow's ScaleAndTranslate op (scale_and_translate_op.cc), wider by
    the scale where the image shrinks, all in float32.
    """
    one, half = np.float32(1), np.float32(0.5)
    inverse = one / (np.float32(after) / np.float32(before))
    reach = max(inverse, one)
    centre = (np.arange(after, dtype=np.float32) + half) * inverse
    start = np.clip(np.ceil(centre - reach - half).astype(int), 0, before - 1)
    end = np.clip(np.floor(centre + reach - half).astype(int), 0, before - 1) + 1
    sources = [start + i for i in range((end - start).max())]
    weights = []
    for source in sources:
        distance = np.abs((source.astype(np.float32) + half - centre) * (one / reach))
        weight = np.where(source < end, np.maximum(one - distance, np.float32(0)), np.float32(0))
        weights.append(weight)
    total = np.zeros(after, np.float32)
    for weight in weights:
        total += weight
    return [
        (np.minimum(source, before - 1), (weight * (one / total))[:, None])
        for source, weight in zip(sources, weights)
    ]
