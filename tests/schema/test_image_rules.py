"""check_image and the graph of a SavedModel against the table of odd images."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrflow.schema.image_rules import BadImage, ImageLimits, check_image
from cxrflow.schema.portable.image_rules import DAMAGED, Header
from cxrflow.serving.pixels import unpack
from tests.support.odd_images import OK, chunk, craft_png, make_odd_images

LIMITS = ImageLimits()
TABLE = make_odd_images()
# The graph leaves this one to the decoder.
CHECKSUM = "PNG header with a wrong checksum"
SIDE = 64


def judged(data: bytes) -> str:
    try:
        check_image(data, LIMITS)
        unpack(data, 0)
    except BadImage as error:
        return error.reason
    return OK


@pytest.mark.parametrize("kind", TABLE)
def test_outcome_is_known_before_decoding(kind: str) -> None:
    odd = TABLE[kind]
    assert judged(odd.data) == (OK if odd.outcome == DAMAGED else odd.outcome)


def test_header_says_format_and_sides() -> None:
    assert check_image(TABLE["PNG"].data, LIMITS) == Header("png", 96, 80)
    assert check_image(TABLE["JPEG with EXIF rotation"].data, LIMITS) == Header("jpeg", 96, 80)


def test_limits_are_settings() -> None:
    data = TABLE["PNG"].data
    assert check_image(data, ImageLimits(min_side=80, max_side=96, max_bytes=len(data)))
    for limits in (
        ImageLimits(min_side=81),
        ImageLimits(max_side=95),
        ImageLimits(max_bytes=len(data) - 1),
    ):
        with pytest.raises(BadImage, match=r"each side must|bytes; at most"):
            check_image(data, limits)


def test_bomb_costs_nothing() -> None:
    data = TABLE["bomb"].data
    assert 380_000 < len(data) < 400_000
    tracemalloc.start()
    with pytest.raises(BadImage, match="20000x20000"):
        check_image(data, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(data)  # what it would inflate to has 400,000,000 bytes


@given(
    st.sampled_from(["PNG", "JPEG", "progressive JPEG", "animated PNG"]),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 400),
)
@settings(max_examples=300, deadline=None)
def test_mutated_bytes_raise_nothing_else(
    kind: str, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(TABLE[kind].data)
    for at, new in changes:
        data[at : at + len(new)] = new
    assert judged(bytes(data[: len(data) - cut]))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The image part of every signature, saved and loaded: string [N] -> `image` uint8."""
    import tensorflow as tf

    from cxrflow.components.images.decoding import compact_batch, decode_compact

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def serve(self, image_bytes):
            compact = compact_batch(image_bytes, SIDE, "raw")
            return {
                "image": tf.map_fn(
                    lambda one: decode_compact(one, "raw", SIDE, channels=1),
                    compact,
                    fn_output_signature=tf.TensorSpec([SIDE, SIDE, 1], tf.uint8),
                )
            }

    module = Module()
    folder = str(tmp_path_factory.mktemp("served"))
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    return lambda *files: signature(image_bytes=tf.constant(files, tf.string))["image"].numpy()


@pytest.mark.tf
@pytest.mark.parametrize("kind", TABLE)
def test_saved_model_gives_the_same_outcome(served, kind: str) -> None:
    import tensorflow as tf

    from cxrflow.components.images.decoding import to_square

    odd, good = TABLE[kind], TABLE["PNG"].data
    outcome = odd.by_graph or odd.outcome
    if outcome == OK:
        images = served(good, odd.data)
        assert images.shape == (2, SIDE, SIDE, 1)
        if odd.gray is not None:
            expected = to_square(tf.constant(odd.gray[..., None], tf.uint8), SIDE)
            np.testing.assert_array_equal(images[1], expected)
        return
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        served(good, odd.data)
    if outcome != DAMAGED and kind != CHECKSUM:
        assert f"[image 1: {outcome}]" in str(caught.value)


@pytest.mark.tf
def test_rotated_images_are_served_as_they_are_stored(served) -> None:
    upright, rotated = served(TABLE["JPEG"].data, TABLE["JPEG with EXIF rotation"].data)
    np.testing.assert_array_equal(upright, rotated)


@pytest.mark.tf
def test_first_of_several_bad_images_is_named(served) -> None:
    import tensorflow as tf

    good, bad = TABLE["PNG"].data, TABLE["GIF"].data
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 2: neither a PNG"):
        served(good, TABLE["JPEG"].data, bad, good, TABLE["bomb"].data)
    assert len(served()) == 0


@pytest.mark.tf
def test_bomb_never_reaches_the_decoder(served) -> None:
    import tensorflow as tf

    header = TABLE["bomb"].data[:64]  # no decoder says more of it than that it is cut off
    with pytest.raises(tf.errors.InvalidArgumentError, match="20000x20000"):
        served(header)


@pytest.mark.tf
def test_graph_agrees_with_check_image_on_mutated_headers() -> None:
    import tensorflow as tf

    from cxrflow.components.images.guard import refuse_bad

    guard = tf.function(
        lambda encoded: refuse_bad(encoded, LIMITS),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    random = np.random.default_rng(0)
    kinds = ["palette PNG", "JPEG", "progressive JPEG", "animated PNG"]
    kinds += ["JPEG and zeros and 0xFF", "PNG and zeros and 0xFF", "PNG with ten bombs of iTXt"]
    # As NIH's originals, which the graph judges by one look.
    plain = craft_png(300, 300, b"pixels", before=chunk(b"tIME", bytes(7)))
    files = [plain, plain, *(TABLE[kind].data for kind in kinds)]
    for _ in range(400):
        data = bytearray(files[random.integers(len(files))])
        for _ in range(random.integers(1, 4)):
            at = random.integers(min(len(data), random.choice([10, 80, 200])))
            data[at] = random.choice([0, 1, 64, 255, random.integers(256)])
        if data[:8] == b"\x89PNG\r\n\x1a\n":  # the checksum is not the graph's business
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        mutated = bytes(data[: len(data) - random.choice([0, 0, 0, 1, 300])])
        try:
            guard(tf.constant([mutated]))
            by_graph = OK
        except tf.errors.InvalidArgumentError as error:
            by_graph = str(error).split("[image 0: ")[1].split("]")[0]
        assert by_graph == judged(mutated), mutated
