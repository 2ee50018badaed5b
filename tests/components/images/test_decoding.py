"""Image operations against values worked out by hand, Pillow and plain NumPy."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cxrflow.components.images import decoding, quick_png
from cxrflow.schema.image_rules import ImageLimits

pytestmark = pytest.mark.tf

GRAY = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)


def _png(pixels: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    return _save(Image.fromarray(pixels, mode), "PNG", **options)


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _opencv_png(pixels: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", pixels)[1].tobytes()


def _rgba(gray: np.ndarray, alpha: int) -> np.ndarray:
    return np.dstack([gray, gray, gray, np.full_like(gray, alpha)])


def _two_bit_png() -> bytes:
    """Gray 0, 1, 2, 3 of 2 bits in one row, which Pillow can't write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, 0b00011011]))  # no filter, then the four pixels
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


def _palette() -> bytes:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 10, 10, 200, 200, 200, 255, 0, 0])
    return _save(image, "PNG")


def _transparent_palette() -> bytes:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([100, 100, 100, 200, 200, 200])
    return _save(image, "PNG", transparency=bytes([255, 0]))


def _colour_jpeg(mode: str) -> bytes:
    return _save(Image.new("RGB", (16, 16), (200, 200, 200)).convert(mode), "JPEG", quality=100)


# name, file, expected gray pixels, tolerance
CASES: list[tuple[str, Callable[[], bytes], np.ndarray, int]] = [
    ("8-bit gray", lambda: _png(GRAY), GRAY, 0),
    ("1x1", lambda: _png(np.array([[77]], np.uint8)), np.array([[77]]), 0),
    ("RGB, R=G=B", lambda: _png(np.dstack([GRAY] * 3)), GRAY, 0),
    ("RGBA, opaque gray", lambda: _png(_rgba(GRAY, 255)), GRAY, 0),
    # 128 * 51 / 255 = 25.6, 254 * .2 = 50.8, 127 * .2 = 25.4
    ("RGBA, a fifth opaque", lambda: _png(_rgba(GRAY, 51)), [[0, 0, 25], [26, 51, 51]], 0),
    ("RGBA, invisible", lambda: _png(_rgba(GRAY, 0)), np.zeros((2, 3)), 0),
    ("gray + alpha", lambda: _png(np.dstack([GRAY, GRAY * 0 + 255])), GRAY, 0),
    # .299 * 255 = 76.2; .587 * 255 = 149.7; .114 * 255 = 29.07
    (
        "RGB, pure colours",
        lambda: _png(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)),
        [[76, 150, 29]],
        0,
    ),
    (
        "RGBA, pure red, half opaque",  # 76.245 * 128 / 255 = 38.3
        lambda: _png(np.array([[[255, 0, 0, 128]]], np.uint8)),
        [[38]],
        0,
    ),
    ("palette", _palette, [[10, 200], [76, 200]], 0),
    ("palette with alpha", _transparent_palette, [[100, 0]], 0),
    ("1 bit", lambda: _save(Image.fromarray(GRAY > 127), "PNG"), [[0, 0, 0], [255, 255, 255]], 0),
    (
        "2 bits",
        _two_bit_png,
        [[0, 85, 170, 255]],
        0,
    ),
    # 16-bit files: 8, 12 and 16 significant bits
    ("8 in 16 bits", lambda: _opencv_png(GRAY.astype(np.uint16)), GRAY, 0),
    (
        "12 in 16 bits",  # 2048 * 255 / 4095 = 127.53; 16 / 4095 * 255 = .996
        lambda: _opencv_png(np.array([[0, 16, 2048, 4095]], np.uint16)),
        [[0, 1, 128, 255]],
        0,
    ),
    (
        "16 bits",  # 257 steps a gray level; 32896 / 257 = 128
        lambda: _opencv_png(np.array([[0, 257, 32896, 65535]], np.uint16)),
        [[0, 1, 128, 255]],
        0,
    ),
    ("16 bits, black", lambda: _opencv_png(np.zeros((2, 2), np.uint16)), np.zeros((2, 2)), 0),
    (
        "16-bit RGB",
        lambda: _opencv_png(np.array([[[257, 257, 257], [65535, 65535, 65535]]], np.uint16)),
        [[1, 255]],
        0,
    ),
    (
        "16-bit RGBA, half opaque",  # white at half alpha: 32768 needs all 16 bits -> 127.5
        lambda: _opencv_png(np.array([[[65535, 65535, 65535, 32768]]], np.uint16)),
        [[128]],
        0,
    ),
    ("gray JPEG", lambda: _colour_jpeg("L"), np.full((16, 16), 200), 1),
    ("RGB JPEG", lambda: _colour_jpeg("RGB"), np.full((16, 16), 200), 1),
]


BOTH = pytest.mark.parametrize("decode", [decoding.decode, quick_png.decode], ids=["", "quick"])


@BOTH
@pytest.mark.parametrize(
    ("name", "file", "expected", "tolerance"), CASES, ids=[c[0] for c in CASES]
)
def test_decode_gives_what_a_viewer_shows(
    name: str, file: Callable[[], bytes], expected: np.ndarray, tolerance: int, decode: Callable
) -> None:
    gray = decode(tf.constant(file())).numpy()
    assert gray.dtype == np.uint8
    assert gray.shape[2] == 1
    np.testing.assert_allclose(gray[..., 0].astype(int), expected, atol=tolerance)


def test_decode_agrees_with_pillow_on_random_colour() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    ours = decoding.decode(tf.constant(_png(rgb))).numpy()[..., 0].astype(int)
    pillow = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
    assert np.abs(ours - pillow).max() <= 1


@BOTH
@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x89PNG",
        b"GIF89a",
        b"not an image",
        _colour_jpeg("CMYK"),
        _png(np.zeros((64, 64), np.uint8))[:60],
    ],
)
def test_decode_refuses_what_is_no_image(damaged: bytes, decode: Callable) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(damaged))


def _square(pixels: np.ndarray, size: int) -> np.ndarray:
    return decoding.to_square(tf.constant(pixels[..., None]), size).numpy()[..., 0]


def test_half_size_is_the_mean_of_two_by_two() -> None:
    pixels = np.array([[0, 2, 255, 255], [4, 6, 255, 255], [0, 1, 9, 9], [0, 1, 9, 10]], np.uint8)
    # 12 / 4 = 3; 255; 2 / 4 = .5 is rounded up; 37 / 4 = 9.25
    np.testing.assert_array_equal(_square(pixels, 2), [[3, 255], [1, 9]])


def test_same_size_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    np.testing.assert_array_equal(_square(pixels, 8), pixels)


def test_upscaling_interpolates() -> None:
    # Pixel centres at 1/4, 3/4 of the source: 0, 25, 75, 100.
    row = np.array([[0, 100], [0, 100]], np.uint8)
    np.testing.assert_array_equal(_square(row, 4), [[0, 25, 75, 100]] * 4)


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))  # one pixel wide
    inner = _square(stripes, 16)[2:-2, 2:-2].astype(int)
    assert np.abs(inner - 127.5).max() < 2


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (4, 8, slice(2, 6), slice(0, 8)),
        (8, 4, slice(0, 8), slice(2, 6)),
        (1, 1, slice(0, 8), slice(0, 8)),
        (100, 3000, slice(3, 4), slice(0, 8)),  # .27 rows become one
        (3000, 100, slice(0, 8), slice(3, 4)),
    ],
)
def test_letterbox_keeps_the_aspect(height: int, width: int, rows: slice, columns: slice) -> None:
    expected = np.zeros((8, 8))
    expected[rows, columns] = 90
    np.testing.assert_array_equal(_square(np.full((height, width), 90, np.uint8), 8), expected)


def test_eager_graph_and_batch_agree() -> None:
    rng = np.random.default_rng(1)
    shapes = [(16, 16), (16, 24), (8, 8), (5, 31)]
    files = [_png(rng.integers(0, 256, shape, np.uint8)) for shape in shapes]
    eager = [decoding.to_square(decoding.decode(tf.constant(f)), 8).numpy() for f in files]
    dataset = tf.data.Dataset.from_tensor_slices(files).map(
        lambda f: decoding.to_square(decoding.decode(f), 8)
    )
    np.testing.assert_array_equal(eager, list(dataset.as_numpy_iterator()))
    limits = ImageLimits(min_side=5)
    compact = tf.function(decoding.compact_batch)(tf.constant(files), 8, "raw", limits=limits)
    batch = [decoding.decode_compact(one, "raw", 8, channels=1).numpy() for one in compact]
    np.testing.assert_array_equal(eager, batch)


def test_empty_batch() -> None:
    assert decoding.compact_batch(tf.constant([], tf.string), 8, "jpeg").shape == (0,)


@pytest.mark.parametrize(("encoding", "bound"), [("raw", 0), ("jpeg", 3)])
def test_compact_images_keep_the_pixels(encoding: str, bound: int) -> None:
    y, x = np.mgrid[:64, :64]
    pixels = (128 + 100 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)[..., None]
    compact = decoding.encode_compact(tf.constant(pixels), encoding, 95)
    assert compact.dtype == tf.string
    rgb = decoding.decode_compact(compact, encoding, 64).numpy().astype(int)
    assert rgb.shape == (64, 64, 3)
    assert np.abs(rgb - pixels).max() <= bound
    gray = decoding.decode_compact(compact, encoding, 64, channels=1)
    np.testing.assert_array_equal(gray, rgb[..., :1])


def test_unknown_encoding_is_an_error() -> None:
    with pytest.raises(ValueError, match="encoding"):
        decoding.encode_compact(tf.zeros([2, 2, 1], tf.uint8), "png")
    with pytest.raises(ValueError, match="encoding"):
        decoding.decode_compact(tf.constant(b""), "png", 2)


def test_compact_image_of_another_size_is_an_error() -> None:
    compact = decoding.encode_compact(tf.zeros([4, 4, 1], tf.uint8), "jpeg")
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        decoding.decode_compact(compact, "jpeg", 8)


def test_real_rgba_originals_show_their_red_channel(shared_dir) -> None:
    import cv2

    found = 0
    for path in sorted((shared_dir / "data/nih-raw/images").glob("*.png")):
        raw = path.read_bytes()
        if raw[25] != 6:  # colour type: RGBA
            continue
        found += 1
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(decoding.decode(tf.constant(raw))[..., 0], pixels[..., 2])
    assert found == 8
