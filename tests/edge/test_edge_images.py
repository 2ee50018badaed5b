"""Pixels and verdicts on the device against those of the models' graph."""

import dataclasses
import os
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import images
from cxrflow.schema.image_rules import ImageLimits
from image_rules import PNG_DEPTHS
from png_stream import CHANNELS
from tests.support.odd_images import DAMAGED, OK, chunk, craft_png, make_odd_images

HOW = images.Preprocessing(
    compact_size=128,
    encoding="jpeg",
    jpeg_quality=95,
    image_size=64,
    **dataclasses.asdict(ImageLimits()),
)
KINDS = [(depth, colour) for colour, depths in PNG_DEPTHS.items() for depth in depths]
ODD = make_odd_images()


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_get_the_models_verdict(kind: str) -> None:
    odd = ODD[kind]
    outcomes = odd.outcome, odd.by_graph  # the device may tell what the graph can't
    try:
        gray = images.decode(odd.data, HOW)
    except images.BadImage as problem:
        assert str(problem) in outcomes
        return
    assert OK in outcomes
    if odd.gray is not None:
        np.testing.assert_array_equal(gray, odd.gray)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", CHANNELS)
@pytest.mark.parametrize("times", [1.5, 2.5, 300])
def test_what_inflates_to_more_than_twice_its_promise_is_refused(depth, colour, times) -> None:
    if colour == 3 and depth == 16:
        return
    size = 80 * (1 + 96 * CHANNELS[colour] * depth // 8)
    before = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    stream = zlib.compress(bytes(int(size * times)), 9)
    png = craft_png(96, 80, stream, depth=depth, colour=colour, before=before)
    if times < 2:
        assert not images.decode(png, HOW).any()
        return
    reason = f"inflate to more than twice the {size} bytes that its header promises"
    with pytest.raises(images.BadImage, match=reason):
        images.decode(png, HOW)


@pytest.mark.parametrize("colour", CHANNELS)
def test_large_images_are_decoded_by_bands_of_the_same_pixels(colour: int, monkeypatch) -> None:
    pngs = [random_png(8, colour, seed) for seed in range(8)]
    whole = [images.decode(png, HOW) for png in pngs]
    monkeypatch.setattr("png_pixels._BAND", 200)  # pixels: 2 rows
    for png, expected in zip(pngs, whole, strict=True):
        np.testing.assert_array_equal(images.decode(png, HOW), expected)


def test_gray_stored_as_colour_is_that_gray() -> None:
    """With and without alpha, every filter, and colour or transparency in one pixel at the end."""
    random = np.random.default_rng(0)
    gray = random.integers(0, 256, (80, 96), np.uint8)
    for mode in ("RGB", "RGBA", "LA"):
        image = Image.fromarray(gray).convert(mode)
        for level in (1, 9):
            png = BytesIO()
            image.save(png, "PNG", compress_level=level)
            np.testing.assert_array_equal(images.decode(png.getvalue(), HOW), gray)
    image = Image.fromarray(gray).convert("RGBA")
    image.putpixel((95, 79), (255, 0, 0, 255))
    image.putpixel((94, 79), (200, 200, 200, 51))
    png = BytesIO()
    image.save(png, "PNG")
    found = images.decode(png.getvalue(), HOW)
    assert (found[79, 95], found[79, 94]) == (76, 40)  # .299 * 255, a fifth of 200
    found[79, 94:] = gray[79, 94:]
    np.testing.assert_array_equal(found, gray)


def test_limits_are_the_bundles() -> None:
    png = ODD["PNG"].data  # 96x80
    with pytest.raises(images.BadImage, match="96x80 pixels; each side must have 90 to"):
        images.decode(png, HOW._replace(min_side=90))
    with pytest.raises(images.BadImage, match=f"{len(png)} bytes; at most 100 are accepted"):
        images.decode(png, HOW._replace(max_bytes=100))


def test_a_square_of_twice_the_size_is_the_mean_of_four() -> None:
    square = np.array([[0, 1, 10, 20], [1, 0, 30, 40], [255, 255, 1, 1], [255, 254, 1, 0]])
    # 2 / 4 = .5, 100 / 4 = 25, 1019 / 4 = 254.75, 3 / 4
    np.testing.assert_array_equal(images.to_square(square.astype(np.uint8), 2), [[1, 25], [255, 1]])


def test_a_wide_image_lies_in_the_middle_of_black() -> None:
    square = images.to_square(np.full((100, 300), 200, np.uint8), 90)
    assert (square[30:60] == 200).all()
    assert not square[:30].any()
    assert not square[60:].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (64, 4096)])
def test_every_shape_becomes_a_square(shape: tuple[int, int]) -> None:
    square = images.to_square(np.full(shape, 255, np.uint8), 64)
    assert square.shape == (64, 64)
    assert square.dtype == np.uint8
    assert square.max() == 255


@pytest.mark.tf
@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300), size=st.sampled_from([31, 64, 150]))
def test_squares_are_those_of_transform(height: int, width: int, size: int) -> None:
    import tensorflow as tf

    from cxrflow.components.images.decoding import to_square

    image = np.random.default_rng([height, width]).integers(0, 256, (height, width), np.uint8)
    expected = to_square(tf.constant(image[..., None]), size).numpy()[..., 0]
    np.testing.assert_array_equal(images.to_square(image, size), expected)


def random_png(depth: int, colour: int, seed: int) -> bytes:
    """A PNG with random rows, row filters, palette and transparency."""
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(64, 90, 2))
    if depth == 16:
        highest = random.choice([255, 256, 1023, 4095, 65535])
        values = random.integers(0, highest + 1, (height, width * CHANNELS[colour]))
        rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        row = -(-width * CHANNELS[colour] * depth // 8)
        rows = random.integers(0, 256, (height, row), np.uint8)
    if colour in (4, 6) and random.random() < 0.5:
        rows.reshape(height, width, -1)[..., -depth // 8 :] = 255  # opaque
    before = b""
    transparent = random.random() < 0.5
    if colour == 3:
        count = int(random.integers(1, (1 << depth) + 1))
        before = chunk(b"PLTE", random.bytes(3 * count))
        if transparent:
            before += chunk(b"tRNS", random.bytes(int(random.integers(1, count + 1))))
    elif colour in (0, 2) and transparent:
        first = rows[0, : CHANNELS[colour] * max(1, depth // 8)].tobytes()
        key = first if depth == 16 else b"".join(bytes([0, byte]) for byte in first)
        before = chunk(b"tRNS", key)
    # The first row's filter leaves its first pixel, the transparent one, alone.
    filters = np.vstack([[[0]], random.integers(0, 5, (height - 1, 1))]).astype(np.uint8)
    stream = zlib.compress(np.hstack([filters, rows]).tobytes(), 1)
    return craft_png(width, height, stream, depth=depth, colour=colour, before=before)


@pytest.mark.tf
@settings(max_examples=80, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32))
def test_grays_are_those_of_transform(kind: tuple[int, int], seed: int) -> None:
    import tensorflow as tf

    from cxrflow.components.images.decoding import decode

    png = random_png(*kind, seed)
    expected = decode(tf.constant(png)).numpy()[..., 0].astype(int)
    assert np.abs(images.decode(png, HOW) - expected).max() <= 1


@pytest.mark.tf
@pytest.mark.parametrize("kind", [kind for kind, odd in ODD.items() if odd.outcome == OK])
def test_the_network_sees_transforms_pixels_of_odd_images(kind: str) -> None:
    assert _difference(ODD[kind].data, HOW) <= 1


@pytest.mark.tf
@pytest.mark.parametrize(("compact", "size"), [(512, 160), (384, 224), (512, 512)])
def test_the_network_sees_transforms_pixels_of_originals(shared_dir, compact, size) -> None:
    how = HOW._replace(compact_size=compact, image_size=size)
    paths = sorted((shared_dir / "data/nih-raw/images").glob("*.png"))[:8]
    assert max(_difference(path.read_bytes(), how) for path in paths) <= 1


@pytest.mark.tf
def test_raw_compact_images_are_not_compressed() -> None:
    assert _difference(ODD["16-bit PNG"].data, HOW._replace(encoding="raw")) == 0


def test_damage_is_a_verdict_and_no_traceback() -> None:
    for i in range(0, 300, 7):
        broken = bytearray(ODD["JPEG"].data)
        broken[20 + i] ^= 0xFF
        try:
            images.prepare(bytes(broken), HOW)
        except images.BadImage as problem:
            assert str(problem)
    with pytest.raises(images.BadImage, match=DAMAGED):
        images.decode(craft_png(96, 80, b"no zlib"), HOW)


def _difference(data: bytes, how: "images.Preprocessing") -> int:
    """Largest in gray levels, of what the network sees."""
    expected = _pixels(how)([data]).numpy()[0, ..., 0].astype(int)
    return int(np.abs(images.prepare(data, how) - expected).max())


@cache
def _pixels(how: "images.Preprocessing") -> Callable:
    """Transform and training make of encoded images, string [N], uint8 [N, S, S, 1]."""
    import tensorflow as tf

    from cxrflow.components.images.decoding import compact_batch
    from cxrflow.components.images.pixels import model_images

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def pixels(encoded: tf.Tensor) -> tf.Tensor:
        compact = compact_batch(encoded, how.compact_size, how.encoding, how.jpeg_quality)
        return model_images(compact, how.encoding, how.compact_size, how.image_size)

    return pixels


def test_what_became_a_pipe_is_not_waited_for(tmp_path) -> None:
    import decoding

    os.mkfifo(tmp_path / "00.png")
    path = str(tmp_path / "00.png")
    why = "can't be read: no regular file any more"
    assert decoding.read(path, HOW)[2] == why == decoding.fingerprint(path, HOW.max_bytes)
