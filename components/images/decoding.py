"""Image operations of the TensorFlow graph, shared by Transform and the serving signatures."""

from collections.abc import Callable

import tensorflow as tf

from cxrflow.components.images.guard import refuse_bad
from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.portable.image_rules import PNG_START

# Luminance of ITU-R BT.601, as Pillow and libjpeg compute it.
_LUMA = (0.299, 0.587, 0.114)
# White of images of 8, 9, ... 16 bits.
_WHITES = tuple(2.0**bits - 1 for bits in range(8, 17))
_LIMITS = ImageLimits()
_OPAQUE_BLACK = -(1 << 24)  # alpha 255, RGB 0 as a little-endian int32


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one PNG or JPEG to what a viewer shows, in gray.

    - Colour and palette become their luminance; R = G = B gives exactly that gray.
    - Alpha is composited over black. A colour key (tRNS) on gray or RGB is ignored.
    - 1, 2 and 4 bits are stretched to 0–255. 16 bits are scaled by the smallest bit depth
      from 8 to 16 that holds the image's maximum, so that 12 bits stored in 16 keep their range.

    Args:
        encoded: string scalar, the file's bytes.

    Returns:
        uint8 [height, width, 1], 0 is black.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are damaged or neither PNG nor JPEG.
    """
    # Signature and IHDR are a PNG's first 29 bytes; the zeros stand in for a shorter file's.
    head = tf.strings.substr(encoded, 0, 29) + tf.constant(bytes(29))
    head = tf.io.decode_raw(head, tf.uint8)
    is_png = tf.reduce_all(tf.equal(head[:8], list(PNG_START)))
    depth, colour_type = tf.cast(head[24], tf.int32), head[25]
    kind = 2 * tf.cast(depth > 8, tf.int32) + tf.cast(colour_type > 0, tf.int32)
    image = tf.switch_case(
        tf.where(is_png, kind, 4),
        [
            lambda: tf.io.decode_png(encoded, channels=1),
            lambda: _flatten(tf.io.decode_png(encoded, channels=4), depth),
            lambda: _scale(tf.cast(tf.io.decode_png(encoded, 1, tf.uint16), tf.float32)),
            lambda: _scale(_composite(tf.io.decode_png(encoded, 4, tf.uint16), 65535.0)),
            lambda: tf.io.decode_jpeg(encoded, channels=1, dct_method="INTEGER_ACCURATE"),
        ],
    )
    return tf.ensure_shape(image, [None, None, 1])


def to_square(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes to `size` × `size`, the aspect kept and the rest black.

    A square of exactly twice the size becomes the mean of 2×2 pixels; everything else is
    interpolated bilinearly, antialiased where it shrinks.

    Args:
        image: uint8 [height, width, 1].
        size: side of the result in pixels.

    Returns:
        uint8 [size, size, 1].
    """
    shape = tf.shape(image)[:2]
    return tf.ensure_shape(
        tf.cond(
            tf.reduce_all(tf.equal(shape, 2 * size)),
            # Halfway between pixels bilinear is their mean; pooling takes ten times as long.
            lambda: _to_uint8(tf.image.resize(image, [size, size])),
            lambda: _letterbox(image, shape, size),
        ),
        [size, size, 1],
    )


def encode_compact(image: tf.Tensor, encoding: str, jpeg_quality: int = 95) -> tf.Tensor:
    """Encodes uint8 [S, S, 1] as a gray JPEG ("jpeg") or a serialized tensor ("raw"), string [].

    Raises:
        ValueError: `encoding` is neither.
    """
    if encoding == "jpeg":
        return tf.io.encode_jpeg(image, format="grayscale", quality=jpeg_quality)
    if encoding == "raw":
        return tf.io.serialize_tensor(image)
    raise ValueError(f"encoding must be 'jpeg' or 'raw', not {encoding!r}")


def compact_batch(
    encoded: tf.Tensor,
    size: int,
    encoding: str,
    jpeg_quality: int = 95,
    limits: ImageLimits | None = _LIMITS,
    decoder: Callable[[tf.Tensor], tf.Tensor] = decode,
) -> tf.Tensor:
    """Turns PNGs or JPEGs, string [N], into compact images of size × size pixels, string [N].

    Args:
        encoded: the files' bytes.
        size: side of the result in pixels.
        encoding: see `encode_compact`, as for `jpeg_quality`.
        jpeg_quality: 1 to 100.
        limits: what an image may be; None: nothing is checked.
        decoder: `decode`, or one that gives the same pixels.

    Raises:
        tf.errors.InvalidArgumentError: when run, before any image is decoded, and names the first
            one that breaks the rules of `schema.image_rules` (none are checked without `limits`);
            or when an image cannot be decoded.
    """
    if limits:
        encoded = refuse_bad(encoded, limits)
    return tf.map_fn(
        lambda one: encode_compact(to_square(decoder(one), size), encoding, jpeg_quality),
        encoded,
        fn_output_signature=tf.string,
    )


def decode_compact(compact: tf.Tensor, encoding: str, size: int, channels: int = 3) -> tf.Tensor:
    """Decodes one compact image (string scalar) to uint8 [size, size, channels], R = G = B.

    Raises:
        tf.errors.InvalidArgumentError: the image's size isn't `size`.
    """
    if encoding == "jpeg":
        image = tf.io.decode_jpeg(compact, channels=channels, dct_method="INTEGER_ACCURATE")
    elif encoding == "raw":
        image = tf.ensure_shape(tf.io.parse_tensor(compact, tf.uint8), [size, size, 1])
        image = tf.repeat(image, channels, axis=-1)
    else:
        raise ValueError(f"encoding must be 'jpeg' or 'raw', not {encoding!r}")
    return tf.ensure_shape(image, [size, size, channels])


def _flatten(rgba: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 4] -> uint8 [H, W, 1], quick for the usual case of gray stored as RGBA."""
    word = tf.bitcast(rgba, tf.int32)
    red = tf.bitwise.bitwise_and(word, 255)

    def composite() -> tf.Tensor:
        # decode_png gives palettes of 1, 2 and 4 bits without alpha an alpha of 1, 3 and 15.
        filler = tf.cast(tf.bitwise.left_shift(1, depth) - 1, tf.uint8)
        opaque = tf.where(tf.reduce_all(tf.equal(rgba[..., 3], filler)), filler, 255)
        return _to_uint8(_composite(rgba, tf.cast(opaque, tf.float32)))

    return tf.cond(
        tf.reduce_all(tf.equal(word, red * 0x010101 + _OPAQUE_BLACK)),
        lambda: tf.cast(red, tf.uint8)[..., None],
        composite,
    )


def _composite(rgba: tf.Tensor, opaque: tf.Tensor | float) -> tf.Tensor:
    """[H, W, 4] with alpha up to `opaque` -> luminance over black, float32 [H, W, 1]."""
    return _luminance(rgba[..., :3]) * tf.cast(rgba[..., 3:], tf.float32) / opaque


def _luminance(rgb: tf.Tensor) -> tf.Tensor:
    """[H, W, 3] -> float32 [H, W, 1]."""
    return tf.tensordot(tf.cast(rgb, tf.float32), tf.constant(_LUMA)[:, None], 1)


def _scale(gray: tf.Tensor) -> tf.Tensor:
    """Values up to 65535, float32 -> uint8, by the smallest bit depth that holds the maximum."""
    whites = tf.constant(_WHITES)
    white = tf.reduce_min(tf.where(whites >= tf.reduce_max(gray), whites, _WHITES[-1]))
    return _to_uint8(gray * (255.0 / white))


def _letterbox(image: tf.Tensor, shape: tf.Tensor, size: int) -> tf.Tensor:
    """uint8 [H, W, 1] -> uint8 [size, size, 1], in the middle of black."""
    sides = tf.cast(shape, tf.float32)
    inner = tf.cast(tf.round(sides * (size / tf.reduce_max(sides))), tf.int32)
    inner = tf.maximum(inner, 1)
    resized = _to_uint8(tf.image.resize(image, inner, antialias=True))
    before = (size - inner) // 2
    # Not tf.image.pad_to_bounding_box: TFT would take its assertions for side effects of the
    # analysis and read the pixels there too.
    margins = tf.stack([before, size - inner - before], axis=1)
    return tf.pad(resized, tf.concat([margins, [[0, 0]]], axis=0))


def _to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Rounds float32 0–255 to uint8."""
    return tf.cast(image + 0.5, tf.uint8)
