"""PNGs of 8-bit gray, what NIH's originals are, in half of TensorFlow's time and the same pixels.

For steps on images that were judged before: it runs in Python, so that no model can contain it,
and its library keeps Python's lock, so that a process decodes one image at a time.
"""

import struct

import numpy as np
import tensorflow as tf
from kornia_rs.io import decode_image_png_u8

from cxrflow.components.images import decoding
from cxrflow.schema.portable.image_rules import IHDR_END, PNG_START

_GRAY8 = b"\x08\x00\x00\x00\x00"  # depth, colour type, compression, filters, not interlaced
_OTHERS = np.zeros([0, 0, 1], np.uint8)


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """A file's bytes, string scalar, to uint8 [height, width, 1], as `decoding.decode` does.

    That is asked where this library can't or won't, and raises what it raises. A wrong checksum of
    all pixels or of the last chunk, which ingest refuses, passes here.
    """
    gray = tf.ensure_shape(tf.numpy_function(_gray, [encoded], tf.uint8), [None, None, 1])
    return tf.cond(tf.size(gray) > 0, lambda: gray, lambda: decoding.decode(encoded))


def _gray(encoded: bytes | np.ndarray) -> np.ndarray:
    """uint8 [height, width, 1], or nothing; without a graph a string comes in an array."""
    data = np.asarray(encoded, object).item()
    if data[:8] != PNG_START or data[24:29] != _GRAY8 or len(data) < IHDR_END:
        return _OTHERS
    width, height = struct.unpack(">II", data[16:24])
    try:
        return decode_image_png_u8(data, (height, width), "mono")
    except Exception:  # the library's own class; TensorFlow says what is wrong, if anything is
        return _OTHERS
