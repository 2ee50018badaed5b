"""What becomes of a PNG's pixel stream before a decoder gets it."""

import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrflow.schema.image_rules import BadImage
from cxrflow.schema.portable.image_rules import DAMAGED
from cxrflow.schema.portable.png_stream import EXCESS, passes
from cxrflow.serving import pixels
from cxrflow.serving.pixels import pixel_bytes, unpack
from tests.support import odd_images
from tests.support.odd_images import HEIGHT, WIDTH, chunk, craft_png

TABLE = odd_images.make_odd_images()
ROOM = 2**25
PROMISED = HEIGHT * (1 + WIDTH)  # bytes of an 8-bit gray PNG's rows
PNGS = [kind for kind, odd in TABLE.items() if odd.outcome == "ok" and b"IHDR" in odd.data[:16]]


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("kind", PNGS)
def test_the_same_pixels_without_compression(kind: str) -> None:
    data = TABLE[kind].data
    found = unpack(data, ROOM)
    np.testing.assert_array_equal(decoded(found), decoded(data))
    if kind == "PNG with more pixels than it says":
        assert found is data
    elif kind == "PNG with a name of compressed comments among its pixels":  # stored already
        assert found == data
    else:
        assert found != data and unpack(found, ROOM) == found


def test_other_chunks_stay_as_they_are() -> None:
    rows = odd_images._rows(odd_images.GRAY)
    pieces = b"".join(chunk(b"IDAT", rows[i : i + 100]) for i in range(0, len(rows), 100))
    whole = craft_png(WIDTH, HEIGHT, b"", before=chunk(b"tEXt", b"a\0b"))
    empty = chunk(b"IDAT", b"")
    found = unpack(whole.replace(empty, pieces + chunk(b"tEXt", b"c\0d")), ROOM)
    raw = zlib.decompress(rows)
    stored = zlib.compress(raw, 0)
    expected = whole.replace(empty, chunk(b"IDAT", stored) + chunk(b"tEXt", b"c\0d"))
    assert found == expected


@pytest.mark.parametrize(
    ("depth", "colour", "most"),
    [
        (1, 0, 2),
        (8, 0, 2),
        (16, 0, 8),
        (8, 2, 24),
        (16, 2, 24),
        (4, 3, 24),
        (8, 4, 24),
        (16, 6, 24),
    ],
)
def test_what_a_pixel_takes_follows_the_graphs_branches(depth: int, colour: int, most: int) -> None:
    assert pixel_bytes(craft_png(WIDTH, HEIGHT, b"", depth=depth, colour=colour)) == most
    assert pixel_bytes(TABLE["JPEG"].data) == 8


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG"])
def test_jpegs_stay_as_they_are(kind: str) -> None:
    assert unpack(TABLE[kind].data, ROOM) is TABLE[kind].data


def test_a_result_above_the_room_is_not_made() -> None:
    data = TABLE["PNG"].data
    size = len(unpack(data, ROOM))
    assert unpack(data, size - 100) is data
    assert unpack(data, size) != data


@pytest.mark.parametrize(
    "data",
    [
        *(odd.data for kind, odd in TABLE.items() if odd.outcome == DAMAGED and "cut" in kind),
        TABLE["bit-flipped PNG"].data,
        TABLE["PNG with rows missing"].data,
        craft_png(WIDTH, HEIGHT, b"not zlib"),
        craft_png(WIDTH, HEIGHT, odd_images._rows(odd_images.GRAY)[:-1] + b"?"),  # a wrong checksum
        craft_png(WIDTH, HEIGHT, odd_images._rows(odd_images.GRAY) + b"more"),
        craft_png(WIDTH, HEIGHT, b"")[:-20],
    ],
)
def test_damage_is_left_to_the_decoder(data: bytes) -> None:
    assert unpack(data, ROOM) is data


@pytest.mark.parametrize("side", [64, 1024])
def test_a_stream_of_a_gigabyte_costs_nothing(side: int) -> None:
    deflate = zlib.compressobj(9)
    megabyte = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    data = craft_png(side, side, megabyte[:2] + megabyte[2:] * 2**10)
    assert len(data) < 1.1e6
    with pytest.raises(BadImage, match="inflate to more than twice"):
        unpack(data, ROOM)
    tracemalloc.start()
    with pytest.raises(BadImage):
        unpack(data, 0)
    assert tracemalloc.get_traced_memory()[1] < 10e6 + 2 * side * side
    tracemalloc.stop()


def test_a_bomb_behind_what_isal_refuses_is_found(monkeypatch) -> None:
    def refuse() -> None:
        raise pixels.isal_zlib.error

    monkeypatch.setattr(pixels.isal_zlib, "decompressobj", refuse)
    bomb = TABLE["PNG that inflates to 1,000 times its pixels"]
    with pytest.raises(BadImage, match=r"inflate to more than twice the 7760 bytes"):
        unpack(bomb.data, ROOM)
    assert unpack(TABLE["PNG"].data, ROOM) is TABLE["PNG"].data


@given(
    st.integers(0, 3 * PROMISED),
    st.integers(0, 9),
    st.integers(5, 5000),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_only_what_is_promised_is_unpacked(size: int, level: int, piece: int, seed: int) -> None:
    # Filter bytes of any value: they are the decoder's to judge.
    raw = np.random.default_rng(seed).integers(0, 4, size, np.uint8).tobytes()
    stream = zlib.compress(raw, level)
    parts = [stream[i : i + piece] for i in range(0, len(stream), piece)]
    before = b"".join(chunk(b"IDAT", part) for part in parts[:-1])
    data = craft_png(WIDTH, HEIGHT, parts[-1], before=before)
    if size > 2 * PROMISED:
        with pytest.raises(BadImage) as caught:
            unpack(data, ROOM)
        assert caught.value.reason == EXCESS.format(PROMISED)
    elif size == PROMISED:
        assert zlib.compress(raw, 0) in unpack(data, ROOM)
    else:
        assert unpack(data, ROOM) is data


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ((5, 3, 8, 0, 0), [(3, 6)]),
        ((5, 3, 16, 6, 0), [(3, 41)]),
        ((5, 3, 1, 3, 0), [(3, 2)]),
        ((8, 8, 8, 2, 1), [(1, 4), (1, 4), (1, 7), (2, 7), (2, 13), (4, 13), (4, 25)]),
        ((1, 1, 8, 0, 1), [(1, 2)]),
    ],
)
def test_rows_of_each_pass(header: tuple[int, ...], expected: list[tuple[int, int]]) -> None:
    assert [(part.height, part.stride) for part in passes(*header)] == expected
