"""The other decoder of 8-bit gray gives TensorFlow's pixels, whatever a PNG of it contains."""

import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrflow.components.images import decoding, quick_png
from cxrflow.components.ingest.image import BadImage, verify_png

pytestmark = pytest.mark.tf

HEIGHT, WIDTH = 5, 7
ANCILLARY = {
    "a colour key": (b"tRNS", b"\0\x10"),
    "a gamma": (b"gAMA", struct.pack(">I", 45_455)),
    "five significant bits": (b"sBIT", b"\x05"),
    "a background": (b"bKGD", b"\0\x07"),
    "a comment": (b"tEXt", b"Comment\0left"),
    "a colour space": (b"sRGB", b"\0"),
    "its primaries": (b"cHRM", struct.pack(">8I", *range(1, 9))),
    "a time": (b"tIME", struct.pack(">HBBBBB", 2026, 1, 2, 3, 4, 5)),
    "a packed comment": (b"zTXt", b"Comment\0\0" + zlib.compress(b"left")),
    "a comment in UTF-8": (b"iTXt", b"Comment\0\0\0\0\0left"),
    "a camera's words": (b"eXIf", b"II*\0\x08\0\0\0\0\0"),
    "no square pixels": (b"pHYs", struct.pack(">IIB", 1000, 2000, 1)),
}


def png(
    rows: bytes, chunks: list[tuple[bytes, bytes]], cuts: list[int], tail: bytes = b""
) -> bytes:
    """Filtered rows as a PNG of 8-bit gray, its pixels cut into chunks."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    pixels = zlib.compress(rows)
    ends = [0, *sorted(cut % (len(pixels) + 1) for cut in cuts), len(pixels)]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks]
    parts += [(b"IDAT", pixels[a:b]) for a, b in pairwise(ends)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in [*parts, (b"IEND", b"")]) + tail


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.binary(min_size=WIDTH, max_size=WIDTH)),
        min_size=HEIGHT,
        max_size=HEIGHT,
    ),
    chunks=st.lists(st.sampled_from(sorted(ANCILLARY)), unique=True),
    cuts=st.lists(st.integers(0, 100), max_size=3),
    tail=st.sampled_from([b"", bytes(16)]),
)
@settings(deadline=None, max_examples=200)
def test_pixels_are_those_of_tensorflow(rows, chunks, cuts, tail):
    filtered = b"".join(bytes([kind]) + row for kind, row in rows)
    data = png(filtered, [ANCILLARY[name] for name in chunks], cuts, tail)
    expected = decoding.decode(tf.constant(data)).numpy()
    np.testing.assert_array_equal(quick_png.decode(tf.constant(data)).numpy(), expected)


def test_the_library_is_asked_for_8_bit_gray(monkeypatch):
    """Not TensorFlow, which would give the same."""
    monkeypatch.setattr(decoding, "decode", None)
    rows = [bytes(range(7 * row, 7 * row + 7)) for row in range(HEIGHT)]
    data = png(b"".join(b"\0" + row for row in rows), list(ANCILLARY.values()), [3])
    gray = quick_png.decode(tf.constant(data)).numpy()
    assert gray.dtype == np.uint8
    np.testing.assert_array_equal(gray[..., 0].ravel(), np.arange(HEIGHT * WIDTH))


def test_a_wrong_checksum_of_all_pixels_passes_here_and_not_at_ingest():
    rows = b"".join(bytes([0, *range(7 * row, 7 * row + 7)]) for row in range(HEIGHT))
    data = png(rows, [], [])
    good = zlib.compress(rows)
    bad = good[:-1] + bytes([good[-1] ^ 1])
    data = data.replace(good, bad).replace(
        struct.pack(">I", zlib.crc32(b"IDAT" + good)), struct.pack(">I", zlib.crc32(b"IDAT" + bad))
    )
    gray = quick_png.decode(tf.constant(data)).numpy()
    np.testing.assert_array_equal(gray.ravel(), np.arange(HEIGHT * WIDTH))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoding.decode(tf.constant(data))
    with pytest.raises(BadImage):
        verify_png(data)


@pytest.mark.parametrize("end", [-12, -13, -20, 29, 33, 8, 0])
def test_what_is_cut_short_gives_what_tensorflow_gives(end):
    data = png(bytes(HEIGHT * (WIDTH + 1)), [], [])[:end]
    try:
        expected = decoding.decode(tf.constant(data)).numpy()
    except tf.errors.InvalidArgumentError:
        with pytest.raises(tf.errors.InvalidArgumentError):
            quick_png.decode(tf.constant(data))
    else:
        np.testing.assert_array_equal(quick_png.decode(tf.constant(data)).numpy(), expected)
