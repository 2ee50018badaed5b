"""From a PNG's or JPEG's bytes to the pixels the network sees, with Pillow and NumPy alone.

The pixels are those of Transform (components/images/decoding.py), the verdicts those of
image_rules.py, which all sides share.
"""

import struct
import zlib
from functools import lru_cache
from io import BytesIO
from typing import List, Tuple

import numpy as np
from PIL import Image

import png_pixels
from bundle import Preprocessing
from image_rules import DAMAGED, BadImage, check_image, read_ihdr
from png_pixels import to_uint8


def prepare(data: bytes, how: Preprocessing) -> np.ndarray:
    """A file's bytes to uint8 [S, S] of `how.image_size`, 0 is black.

    Raises:
        BadImage: image_rules.check_image refuses it, or it cannot be decoded.
    """
    image = to_square(decode(data, how), how.compact_size)
    if how.encoding == "jpeg":
        image = _through_jpeg(image, how.jpeg_quality)
    return to_square(image, how.image_size)


def decode(data: bytes, limits: Preprocessing) -> np.ndarray:
    """A file's bytes to gray, uint8 [height, width]; see `prepare`."""
    header = check_image(data, limits.originals)
    try:
        if header.format == "png":
            return png_pixels.decode(data, read_ihdr(data))
        return _decode_jpeg(data, (header.width, header.height))
    except (OSError, ValueError, zlib.error, struct.error):  # Pillow's for what it can't decode
        raise BadImage(DAMAGED) from None


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
