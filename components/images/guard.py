"""The rules of schema.portable.image_rules as ops of the graph, all that TF Serving has of us.

Each is applied to the whole batch at once, before any image is decoded.
"""

import tensorflow as tf

from cxrflow.schema.image_rules import ImageLimits
from cxrflow.schema.portable import image_rules as rules

(
    _OK,
    _EMPTY,
    _TOO_LARGE,
    _UNKNOWN,
    _BAD_PNG,
    _BAD_JPEG,
    _SIDES,
    _KIND,
    _ANIMATED,
    _SCANS,
    _TEXT,
    _PIECES,
    _CUT,
) = range(13)
# Chunks that decoders inflate; by chance their names stand in the pixels of one X-ray of thousands.
_TEXT_NAMES = "|".join(kind.decode() for kind in rules.TEXT_CHUNKS)
_PIXEL_TYPES = [  # bit depth and colour type as one number
    256 * depth + colour for colour, depths in rules.PNG_DEPTHS.items() for depth in depths
]


def refuse_bad(encoded: tf.Tensor, limits: ImageLimits) -> tf.Tensor:
    """`encoded`, once `cxrflow.schema.image_rules.check_image` would pass each image of it.

    Left to the decoder are IHDR's checksum, for which it refuses the image, and the chunks from a
    PNG's first pixels on: they are walked only where one may be a compressed comment.

    Args:
        encoded: string [N], the files' bytes.

    Raises:
        tf.errors.InvalidArgumentError: when run; names the first bad image, counted from 0, and
            what is wrong with it.
    """
    size = tf.strings.length(encoded)
    # Inlined, its ops would cost nearly as much untaken as taken.
    judge = tf.function(_judge, autograph=False, experimental_attributes={"_noinline": True})
    return tf.cond(
        tf.reduce_all(_is_plain_png(encoded, size, limits)),
        lambda: encoded,
        lambda: judge(encoded, size, limits),
    )


def _is_plain_png(encoded: tf.Tensor, size: tf.Tensor, limits: ImageLimits) -> tf.Tensor:
    """Whether one look tells that a PNG keeps the rules, as it does for most X-rays: bool [N].

    The full judgement takes some hundred small ops, 4 % of decoding a single image.
    """
    # The second-lowest byte of a side, such that the lowest does not matter.
    lowest, highest = -(-limits.min_side // 256), min((limits.max_side + 1) // 256 - 1, 127)
    if lowest > highest:
        return tf.zeros_like(size, tf.bool)
    side = rf"\x00\x00[\x{lowest:02x}-\x{highest:02x}]\C"
    pattern = (
        r"\CPNG\r\n\x1a\n\x00\x00\x00\rIHDR"
        + 2 * side
        + r"\x08[\x00\x02-\x04\x06]\x00\x00[\x00\x01]\C{4}"
        # Chunks of a fixed length, then the first of the pixels.
        + r"(?:\x00\x00\x00(?:\x01sRGB\C|\x04gAMA\C{4}|\x07tIME\C{7}|\x09pHYs\C{9})\C{4})*"
        + r"\C{4}IDAT\C*"
    )
    start = _substr(encoded, tf.zeros_like(size), 128)
    return (
        tf.strings.regex_full_match(start, pattern)
        & tf.equal(tf.strings.substr(start, 0, 1), rules.PNG_START[:1])  # no regex for UTF-8
        & (size <= limits.max_bytes)
        & _ends_with(encoded, size, rules.PNG_END)
        & ~_may_have_text(encoded)
    )


def _may_have_text(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the name of a compressed comment stands anywhere in it: bool [N]."""
    without = tf.strings.regex_replace(encoded, _TEXT_NAMES, "", replace_global=False)
    return tf.strings.length(without) < tf.strings.length(encoded)


def _judge(encoded: tf.Tensor, size: tf.Tensor, limits: ImageLimits) -> tf.Tensor:
    """`encoded` if all is well with it."""
    head = _bytes(encoded, size, tf.zeros_like(size), rules.IHDR_END)
    is_png = _equal(head[:, :8], rules.PNG_START)
    is_jpeg = _equal(head[:, :2], rules.JPEG_START)
    start = _first(
        (tf.equal(size, 0), _EMPTY),
        (size > limits.max_bytes, _TOO_LARGE),
        (~(is_png | is_jpeg), _UNKNOWN),
    )
    sound = tf.equal(start, _OK)
    found = _check_png(encoded, size, head, is_png & sound, limits)
    found += _check_jpeg(encoded, size, is_jpeg & sound, limits)
    problem = start + found[:, 0]
    return tf.cond(
        tf.reduce_all(tf.equal(problem, _OK)),
        lambda: encoded,
        lambda: _refuse(encoded, problem, size, found, limits),
    )


def _check_png(
    encoded: tf.Tensor, size: tf.Tensor, head: tf.Tensor, mine: tf.Tensor, limits: ImageLimits
) -> tf.Tensor:
    """int32 [N, 5]: problem, width, height and zeros; all zeros for images that are not `mine`."""
    width, height = _number(head[:, 16:20]), _number(head[:, 20:24])
    depth, colour = head[:, 24], head[:, 25]
    valid = (
        _equal(head[:, 8:16], b"\0\0\0\x0dIHDR")
        & (size >= rules.IHDR_END)
        & (width > 0)  # 2**31 and more are negative here
        & (height > 0)
        & tf.reduce_any(tf.equal((256 * depth + colour)[:, None], _PIXEL_TYPES), axis=1)
        & tf.equal(head[:, 26] + head[:, 27], 0)
        & (head[:, 28] <= 1)
    )

    def next_chunk(
        at: tf.Tensor, walking: tf.Tensor, problem: tf.Tensor, text: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        chunk = _bytes(encoded, size, at, 8)
        ended = at + 8 > size
        animated = _equal(chunk[:, 4:], b"acTL")
        found = _first((ended, _CUT), (animated, _ANIMATED))
        problem = tf.where(walking, found, problem)
        walking &= ~(ended | animated | _equal(chunk[:, 4:], b"IDAT"))
        text += tf.where(walking, _compressed_text(encoded, size, at, chunk), 0)
        return tf.where(walking, _following(at, size, chunk), at), walking, problem, text

    at, walking, walked, text = tf.while_loop(
        lambda at, walking, problem, text: tf.reduce_any(walking),
        next_chunk,
        (
            tf.fill(tf.shape(size), rules.IHDR_END),
            mine & valid,
            tf.zeros_like(size),
            tf.zeros_like(size),
        ),
        maximum_iterations=rules.MAX_PARTS,
    )
    sound = mine & valid & tf.equal(walked, 0) & ~walking
    problem = _first(
        (~valid, _BAD_PNG),
        (_outside(width, height, limits), _SIDES),
        (walked > 0, walked),
        (walking, _BAD_PNG),
        (tf.constant(True), _check_from_pixels(encoded, size, at, sound, text)),
    )
    cut = tf.equal(problem, _OK) & ~_ends_with_padded(encoded, size, mine)
    problem = tf.where(cut, _CUT, problem)
    zeros = tf.zeros_like(size)
    return tf.where(mine[:, None], tf.stack([problem, width, height, zeros, zeros], axis=1), 0)


def _check_from_pixels(
    encoded: tf.Tensor, size: tf.Tensor, at: tf.Tensor, mine: tf.Tensor, text: tf.Tensor
) -> tf.Tensor:
    """The problem of the chunks from `at`, a PNG's first pixels, on, where text may be: int32 [N].

    `text` is how much came before them.
    """

    def next_chunk(
        at: tf.Tensor, walking: tf.Tensor, text: tf.Tensor, end: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        chunk = _bytes(encoded, size, at, 8)
        following = _following(at, size, chunk)
        walking &= (text <= rules.MAX_TEXT) & (at + 8 <= size)
        last = walking & _equal(chunk[:, 4:], b"IEND")
        walking &= ~last
        text += tf.where(walking, _compressed_text(encoded, size, at, chunk), 0)
        return tf.where(walking, following, at), walking, text, tf.where(last, following, end)

    _, walking, text, end = tf.while_loop(
        lambda at, walking, text, end: tf.reduce_any(walking),
        next_chunk,
        (at, mine & _may_have_text(tf.where(mine, encoded, "")), text, tf.fill(tf.shape(at), -1)),
        maximum_iterations=rules.MAX_WALKED + 1,
    )
    ended = end >= 0
    rest = _substr(tf.where(ended, encoded, ""), tf.where(ended, end, 0), rules.MAX_PADDING + 1)
    return _first((text > rules.MAX_TEXT, _TEXT), (walking, _PIECES), (~_is_padding(rest), _CUT))


def _following(at: tf.Tensor, size: tf.Tensor, chunk: tf.Tensor) -> tf.Tensor:
    """Where the next chunk begins; at the end if this one's length goes beyond it."""
    following = at + 12 + _number(chunk[:, :4])
    # What does not fit into an int32 lies behind the end, too.
    return tf.where(following < at, size, tf.minimum(following, size))


def _compressed_text(
    encoded: tf.Tensor, size: tf.Tensor, at: tf.Tensor, chunk: tf.Tensor
) -> tf.Tensor:
    """The bytes of each chunk at `at` that count as compressed comment: int32 [N], 0 of others."""
    length, kind = _number(chunk[:, :4]), chunk[:, 4:]
    length = tf.where(length < 0, rules.TEXT_BYTES, tf.minimum(length, rules.TEXT_BYTES))
    # An iTXt has a keyword, a zero, and whether it is compressed.
    start = _bytes(encoded, size, at + 8, 81)
    keyword_end = tf.argmax(tf.equal(start[:, :80], 0), axis=1, output_type=tf.int32)
    flagged = tf.gather(start, keyword_end + 1, batch_dims=1) > 0
    ended = tf.equal(tf.gather(start, keyword_end, batch_dims=1), 0) & (at + 8 + keyword_end < size)
    compressed = (
        _equal(kind, b"zTXt") | _equal(kind, b"iCCP") | (_equal(kind, b"iTXt") & flagged & ended)
    )
    return tf.where(compressed, length, 0)


def _check_jpeg(
    encoded: tf.Tensor, size: tf.Tensor, mine: tf.Tensor, limits: ImageLimits
) -> tf.Tensor:
    """int32 [N, 5]: problem, width, height, SOF marker and channels × 256 + bits."""

    def next_segment(
        at: tf.Tensor, walking: tf.Tensor, problem: tf.Tensor, frame: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        segment = _bytes(encoded, size, at, 10)
        marker, length = segment[:, 1], _number(segment[:, 2:4])
        is_fill = _equal(segment[:, :2], b"\xff\xff")
        is_frame = (
            tf.equal(marker & 0xF0, 0xC0)
            & tf.not_equal(marker, 0xC4)
            & tf.not_equal(marker, 0xC8)
            & tf.not_equal(marker, 0xCC)
        )
        wrong = (
            tf.not_equal(segment[:, 0], 0xFF)
            | (marker < 0xC0)
            | ((marker >= 0xD0) & (marker <= 0xD9))
            | (length < 2)
            | (is_frame & ((frame[:, 1] > 0) | (length < 8) | (at + 10 > size)))
        )
        found = _first((at + 4 > size, _CUT), (~is_fill & wrong, _BAD_JPEG))
        problem = tf.where(walking, found, problem)
        walking &= tf.equal(found, 0) & tf.not_equal(marker, 0xDA)
        frame = tf.where((walking & is_frame)[:, None], segment, frame)
        following = tf.minimum(at + tf.where(is_fill, 1, 2 + length), size)
        return tf.where(walking, following, at), walking, problem, frame

    at, walking, walked, frame = tf.while_loop(
        lambda at, walking, problem, frame: tf.reduce_any(walking),
        next_segment,
        (
            tf.fill(tf.shape(size), 2),
            mine,
            tf.zeros_like(size),
            tf.zeros([tf.shape(size)[0], 10], tf.int32),
        ),
        maximum_iterations=rules.MAX_PARTS,
    )
    marker, bits, channels = frame[:, 1], frame[:, 4], frame[:, 9]
    height, width = _number(frame[:, 5:7]), _number(frame[:, 7:9])
    # From the first scan on, where a zero follows every 0xFF of the pixels.
    pixels = _substr(tf.where(mine, encoded, ""), tf.where(mine, at, 0), limits.max_bytes)
    scans = tf.cast(tf.strings.split(pixels, rules.JPEG_SCAN).row_lengths(), tf.int32) - 1
    around = tf.strings.split(pixels, rules.JPEG_END)  # the end
    rest = around.to_tensor("", shape=[None, 2])[:, 1]
    problem = _first(
        (walked > 0, walked),
        (walking | tf.equal(marker, 0) | tf.equal(width, 0) | tf.equal(height, 0), _BAD_JPEG),
        (_outside(width, height, limits), _SIDES),
        (~_accepted(marker, bits, channels), _KIND),
        (scans > rules.MAX_SCANS, _SCANS),
        (tf.not_equal(around.row_lengths(), 2) | ~_is_padding(rest), _CUT),
    )
    found = tf.stack([problem, width, height, marker, channels * 256 + bits], axis=1)
    return tf.where(mine[:, None], found, 0)


def _accepted(marker: tf.Tensor, bits: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
    return (
        tf.reduce_any(tf.equal(marker[:, None], rules.JPEG_FRAMES), axis=1)
        & tf.equal(bits, 8)
        & tf.reduce_any(tf.equal(channels[:, None], rules.JPEG_CHANNELS), axis=1)
    )


def _refuse(
    encoded: tf.Tensor, problem: tf.Tensor, size: tf.Tensor, found: tf.Tensor, limits: ImageLimits
) -> tf.Tensor:
    """Fails with the reason for the first bad image."""
    bad = tf.argmax(problem > 0, output_type=tf.int32)
    _, width, height, marker, kind = tf.unstack(found[bad])
    reasons = [
        rules.EMPTY,
        tf.strings.format(rules.TOO_LARGE, (size[bad], limits.max_bytes)),
        rules.UNKNOWN_FORMAT,
        rules.BAD_HEADER.format("PNG"),
        rules.BAD_HEADER.format("JPEG"),
        tf.strings.format(rules.SIDES, (width, height, limits.min_side, limits.max_side)),
        tf.strings.format(rules.JPEG_KIND, (kind // 256, kind % 256, marker - 0xC0)),
        rules.ANIMATED,
        rules.SCANS.format(rules.MAX_SCANS),
        rules.TEXT,
        rules.PIECES.format(rules.MAX_WALKED),
        rules.UNFINISHED,
    ]
    reason = tf.stack(reasons)[problem[bad] - 1]
    message = tf.strings.join([tf.strings.format("image {}: ", bad), reason])
    with tf.control_dependencies([tf.debugging.Assert(problem[bad] < 0, [message])]):
        return tf.identity(encoded)


def _bytes(encoded: tf.Tensor, size: tf.Tensor, at: tf.Tensor, count: int) -> tf.Tensor:
    """`count` bytes of each string from `at` on, int32 [N, count], zeros behind its end."""
    part = _substr(encoded, tf.minimum(at, size), count)
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=count), tf.int32)


def _substr(encoded: tf.Tensor, at: tf.Tensor, count: int) -> tf.Tensor:
    """At most `count` bytes of each string from `at`, int32 [N], on: string [N]."""
    return tf.strings.substr(encoded, at, tf.fill(tf.shape(at), count))


def _ends_with(encoded: tf.Tensor, size: tf.Tensor, end: bytes) -> tf.Tensor:
    return tf.equal(_substr(encoded, tf.maximum(size - len(end), 0), len(end)), end)


def _ends_with_padded(encoded: tf.Tensor, size: tf.Tensor, mine: tf.Tensor) -> tf.Tensor:
    """Whether each PNG of `mine` ends with its last chunk, and then nothing but padding."""
    at_end = _ends_with(encoded, size, rules.PNG_END)
    most, look = rules.MAX_PADDING + len(rules.PNG_END), mine & ~at_end
    begin = tf.where(look, tf.maximum(size - most, 0), 0)
    around = tf.strings.split(_substr(tf.where(look, encoded, ""), begin, most), rules.PNG_END)
    rest = around[:, -1:].to_tensor("", shape=[None, 1])[:, 0]
    return at_end | ((around.row_lengths() > 1) & _is_padding(rest))


def _is_padding(rest: tf.Tensor) -> tf.Tensor:
    """Whether strings are nothing but padding, and not too much of it: bool [N]."""
    size = tf.strings.length(rest)
    fits = size <= rules.MAX_PADDING
    longest = tf.maximum(tf.reduce_max(tf.where(fits, size, 0)), 1)
    values = tf.io.decode_raw(tf.where(fits, rest, ""), tf.uint8, fixed_length=longest)
    return fits & tf.reduce_all(
        tf.reduce_any([tf.equal(values, byte) for byte in rules.PADDING], axis=0), axis=1
    )


def _number(digits: tf.Tensor) -> tf.Tensor:
    """Big-endian bytes, int32 [N, n], to int32 [N]; negative from 2**31 on."""
    weights = [1 << 8 * i for i in reversed(range(digits.shape[1]))]
    return tf.reduce_sum(digits * weights, axis=1)


def _equal(found: tf.Tensor, expected: bytes) -> tf.Tensor:
    """Whether bytes, int32 [N, n], are those expected: bool [N]."""
    return tf.reduce_all(tf.equal(found, list(expected)), axis=1)


def _outside(width: tf.Tensor, height: tf.Tensor, limits: ImageLimits) -> tf.Tensor:
    return (tf.minimum(width, height) < limits.min_side) | (
        tf.maximum(width, height) > limits.max_side
    )


def _first(*checks: tuple[tf.Tensor, int | tf.Tensor]) -> tf.Tensor:
    """The problem of the first check that is true, else _OK: int32 [N]."""
    problem = tf.zeros_like(checks[0][0], tf.int32)
    for broken, code in reversed(checks):
        problem = tf.where(broken, code, problem)
    return problem
