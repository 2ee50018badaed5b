"""The pixels of a PNG as the network's preprocessing wants them: gray, 8 bits.

Nothing inflates more than twice what the header promises. The usual gray image of 8 bits is left to
Pillow. All others go by bands of rows, which bounds the memory: PNG's filters work on each byte of
a pixel by itself, so that a band is taken apart into planes of one byte a pixel, and Pillow
unfilters each as a gray image. Gray stored as colour has equal planes: one is enough.
"""

import struct
import zlib
from typing import Callable, Iterator, List, Optional, Tuple, Union

import numpy as np
from PIL import Image

from image_rules import BadImage, Ihdr
from png_stream import CHANNELS, EXCESS, MOST, Pass, passes, promised_bytes

_PALETTE = 3  # colour type
_BAND = 1 << 17  # pixels that are unpacked at once; they stay in the cache
_DEFLATE = 1032  # bytes that one byte may inflate to, at most (zlib's technical notes)
# What an opaque plane looks like filtered, by filter: its first byte and the others of a row; in
# the topmost row, whose row before counts as 0, and below.
_OPAQUE_TOP = np.array([(255, 255), (255, 0), (255, 255), (255, 128), (255, 0)], np.uint8)
_OPAQUE = np.array([(255, 255), (255, 0), (0, 0), (128, 0), (0, 0)], np.uint8)
_PART = 1 << 20  # bytes
_BLOCK = (1 << 16) - 1  # bytes that a stored block holds (RFC 1951, 3.2.4)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_WHITES = tuple(2.0**bits - 1 for bits in range(8, 17))

_Finish = Callable[[List[np.ndarray]], np.ndarray]  # a band's channels to its gray


def decode(data: bytes, header: Ihdr) -> np.ndarray:
    """Gray of a PNG whose header is valid, uint8 [height, width], 0 is black.

    Colour becomes luminance, alpha is over black, 16 bits are scaled by the smallest bit depth from
    8 to 16 that holds the maximum: what Transform's `decode` does.

    Raises:
        BadImage: its pixels inflate to more than twice what the header promises.
        ValueError, OSError, zlib.error, struct.error: it is damaged.
    """
    pieces, palette, alpha = _chunks(data)
    parts = passes(*header)
    promised = promised_bytes(parts)
    finish = _finisher(header, palette, alpha)
    if header[2:] == (8, 0, 0):
        usual = _decode_usual(pieces, header.width, header.height)
        if usual is not None:
            return usual
    stream = _Stream(pieces)
    deep_gray = header.depth == 16 and header.colour == 0
    kind = np.uint16 if deep_gray else np.float32 if header.depth == 16 else np.uint8
    gray = np.empty((header.height, header.width), kind)
    for one in parts:
        top = 0
        part = gray[one.top :: one.down, one.left :: one.across]
        for planes in _bands(stream, header, one):
            band = finish(planes)
            part[top : top + len(band)] = band
            top += len(band)
    stream.refuse_excess(promised)
    return _scale(gray) if header.depth == 16 else gray


def composite(
    channels: List[np.ndarray], key: Optional[np.ndarray] = None, opaque: int = 255
) -> np.ndarray:
    """Gray or colour with or without alpha up to `opaque`, over black: float32 [h, w].

    `key` is the colour that is transparent.
    """
    colours = channels[: len(channels) - (len(channels) in (2, 4))]
    red, green, blue = [one.astype(np.float32) for one in colours * (3 // len(colours))]
    gray = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    if key is not None:
        hidden = [one == value for one, value in zip(colours, key)]
        gray[hidden[0] & hidden[1] & hidden[2]] = 0
    if len(colours) == len(channels):
        return gray
    return gray * channels[-1].astype(np.float32) / np.float32(opaque)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds float32 0-255."""
    return (image + np.float32(0.5)).astype(np.uint8)


def _decode_usual(pieces: List[memoryview], width: int, height: int) -> Optional[np.ndarray]:
    """Gray of 8 bits, not interlaced: uint8 [height, width]; None if much follows the pixels.

    The stream's tail is held back that can't inflate to more than is promised. Where pixels lie in
    it, nothing has to be inflated twice, or counted, to know that the stream keeps the promise.
    """
    content = b"".join(pieces)
    tail = max(0, len(content) - height * (1 + width) // _DEFLATE)
    image = Image.new("L", (width, height))
    decoder = Image._getdecoder("L", "zip", ("L", 0))
    decoder.setimage(image.im, (0, 0, width, height))
    if decoder.decode(content[:tail])[0] < 0:  # it is done, or fails
        return None
    consumed, error = decoder.decode(content[tail:])
    if consumed >= 0 or error:
        raise ValueError("too few pixels, or damaged ones")
    return np.asarray(image)


class _Stream:
    """What a PNG's pixel chunks inflate to, a part at a time."""

    def __init__(self, pieces: List[memoryview]):
        self._pieces, self._inflater = iter(pieces), zlib.decompressobj()
        self._taken = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises ValueError if there are fewer, zlib.error if damaged."""
        parts = []  # type: List[bytes]
        left = size
        while left:
            part = self._inflate(left)
            if not part:
                raise ValueError("too few pixels")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def refuse_excess(self, promised: int) -> None:
        """Looks at what follows. Raises BadImage if it is more than twice what is promised."""
        try:
            while self._taken <= MOST * promised:
                if not self._inflate(min(_PART, MOST * promised + 1 - self._taken)):
                    return
        except zlib.error:  # what follows the pixels needn't be sound
            return
        raise BadImage(EXCESS, promised)

    def _inflate(self, most: int) -> bytes:
        """1 to `most` bytes, none at the end."""
        inflater = self._inflater
        while not inflater.eof:
            waiting = inflater.unconsumed_tail or next(self._pieces, None)
            if waiting is None:
                # What a full buffer held back in the last call; nothing if the stream is cut short.
                part = inflater.decompress(b"", most)
                self._taken += len(part)
                return part
            part = inflater.decompress(waiting, most)
            if part:
                self._taken += len(part)
                return part
        return b""


def _chunks(data: bytes) -> Tuple[List[memoryview], bytes, bytes]:
    """Pixels, palette and its alpha of a PNG; raises ValueError where libpng gives up."""
    view = memoryview(data)
    pieces, palette, alpha = [], b"", b""  # type: List[memoryview], bytes, bytes
    at, before = 8, b""
    while before != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        body = view[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        whole = zlib.crc32(body, zlib.crc32(kind)) == crc
        if kind[0:1].isupper() and (not whole or kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND")):
            raise ValueError("a damaged or unknown chunk")
        if kind == b"IDAT" and (not pieces or before == b"IDAT"):
            pieces.append(body)
        elif kind == b"PLTE":
            palette = bytes(body)
        elif kind == b"tRNS" and whole:
            alpha = bytes(body)
        at, before = at + 12 + length, kind
    return pieces, palette, alpha


def _bands(stream: _Stream, header: Ihdr, one: Pass) -> Iterator[List[np.ndarray]]:
    """A pass in bands of rows: uint8 or uint16 [rows, width] of each channel."""
    channels, row = CHANNELS[header.colour], one.stride - 1
    depth = header.depth // 8  # bytes of a sample, 0 for less than one
    count = channels * depth or 1
    planes = [np.zeros((1, row // count), np.uint8)] * count  # the row before
    most = max(1, _BAND // one.width)
    for top in range(0, one.height, most):
        height = min(most, one.height - top)
        packed = np.frombuffer(stream.take(height * (row + 1)), np.uint8).reshape(height, -1)
        planes = _unfilter(packed, planes)
        if not depth:
            yield [_unpack_bits(planes[0], header, one.width)]
        elif depth == 1:
            yield planes
        else:
            pairs = zip(planes[0::2], planes[1::2])
            yield [high.astype(np.uint16) * np.uint16(256) + low for high, low in pairs]


def _unfilter(packed: np.ndarray, before: List[np.ndarray]) -> List[np.ndarray]:
    """Filtered rows [h, 1 + w * planes] to planes [h, w]; `before` is the last band's planes."""
    count = len(before)
    if count == 1:
        return [_unfilter_plane(packed[:, :1], packed[:, 1:], before[0][-1])]
    grays = _opaque_grays(packed, before) if count == 4 else None
    if grays is not None:
        plane = _unfilter_plane(packed[:, :1], grays, before[0][-1])
        return [plane, plane, plane, np.full(plane.shape, 255, np.uint8)]
    planes = []  # type: List[np.ndarray]
    done = []  # type: List[Tuple[np.ndarray, np.ndarray, np.ndarray]]
    for i in range(count):
        last, filtered = before[i][-1], packed[:, 1 + i :: count]
        same = (
            plane
            for other_last, other, plane in done
            if np.array_equal(last, other_last) and np.array_equal(filtered, other)
        )
        found = next(same, None)
        if found is None:
            found = _unfilter_plane(packed[:, :1], filtered, last)
            done.append((last, filtered, found))
        planes.append(found)
    return planes


def _opaque_grays(packed: np.ndarray, before: List[np.ndarray]) -> Optional[np.ndarray]:
    """The filtered gray, uint8 [h, w], of RGBA that is gray and opaque; else None.

    Told before anything is unfiltered: equal rows are filtered to equal bytes.
    """
    red, green, blue, alpha = [plane[-1] for plane in before]
    is_top = not alpha.any()
    if packed[:, 0].max() > 4 or not (is_top or alpha.min() == 255):
        return None
    if (red != green).any() or (red != blue).any():
        return None
    opaque = _OPAQUE[packed[:, 0]]
    if is_top:
        opaque[0] = _OPAQUE_TOP[packed[0, 0]]
    words = np.ascontiguousarray(packed[:, 1:]).view("<u4")
    grays = words & np.uint32(255)
    expected = grays * np.uint32(0x010101)
    alphas = opaque.astype(np.uint32) << np.uint32(24)
    expected[:, :1] |= alphas[:, :1]
    expected[:, 1:] |= alphas[:, 1:]
    return grays.astype(np.uint8) if np.array_equal(words, expected) else None


def _unfilter_plane(filters: np.ndarray, filtered: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Filtered rows [h, w] of bytes, and the filter of each, [h, 1], to [h, w]."""
    first = np.concatenate(([0], before)).astype(np.uint8)  # the row before, not filtered
    rows = np.vstack((first, np.hstack((filters, filtered))))
    # Stored blocks cost nothing to inflate.
    parts: List[Union[bytes, memoryview]] = [b"\x78\x01"]
    raw = rows.data.cast("B")
    for at in range(0, len(raw), _BLOCK):
        block = raw[at : at + _BLOCK]
        size = len(block)
        parts += (struct.pack("<BHH", at + _BLOCK >= len(raw), size, size ^ 0xFFFF), block)
    parts.append(struct.pack(">I", zlib.adler32(raw)))
    shape = filtered.shape[1], len(rows)
    return np.asarray(Image.frombytes("L", shape, b"".join(parts), "zip", ("L", 0)))[1:]


def _unpack_bits(packed: np.ndarray, header: Ihdr, width: int) -> np.ndarray:
    """Rows of 1, 2, 4 or 8 bits a pixel to values, uint8 [h, width]."""
    depth = header.depth
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    values = (packed[..., None] >> shifts) & np.uint8((1 << depth) - 1)
    return values.reshape(len(packed), -1)[:, :width]


def _finisher(header: Ihdr, palette: bytes, alpha: bytes) -> _Finish:
    """The function from a band's channels to its gray, which 16 bits have still to be scaled."""
    depth, colour = header.depth, header.colour
    if colour == _PALETTE:
        grays = _palette_grays(depth, palette, alpha)
        return lambda channels: grays[channels[0]]
    if colour == 0:
        stretched = np.uint8(255 // ((1 << depth) - 1) if depth < 8 else 1)
        return lambda channels: channels[0] if depth >= 8 else channels[0] * stretched
    # The transparent colour; that of gray images is ignored, as Transform does.
    key = None
    if colour == 2 and len(alpha) == 6:
        key = np.frombuffer(alpha, ">u2") & np.uint16((1 << depth) - 1)
    if depth == 16:
        return lambda channels: composite(channels, key, 65535)

    def gray(channels: List[np.ndarray]) -> np.ndarray:
        colours = channels[: len(channels) - (colour in (4, 6))]
        is_gray = all(one is colours[0] for one in colours)  # the same plane: see _unfilter
        is_opaque = len(colours) == len(channels) or channels[-1].min() == 255
        if is_gray and is_opaque and key is None:
            return channels[0]
        return to_uint8(composite(channels, key))

    return gray


def _palette_grays(depth: int, palette: bytes, alpha: bytes) -> np.ndarray:
    """The gray of every index, uint8 [256]; those that the palette lacks are black."""
    if not palette:
        raise ValueError("no palette")
    colours = np.zeros((4, 256), np.uint8)
    colours[3] = 255
    rgb = np.frombuffer(palette[: 3 << depth], np.uint8).reshape(-1, 3)
    colours[:3, : len(rgb)] = rgb.T
    opacity = np.frombuffer(alpha, np.uint8)
    if len(opacity) <= len(rgb):
        colours[3, : len(opacity)] = opacity
    return to_uint8(composite(list(colours)))


def _scale(gray: np.ndarray) -> np.ndarray:
    """Values up to 65535 to uint8, by the smallest bit depth that holds the maximum."""
    highest = gray.max()
    white = next((white for white in _WHITES if white >= highest), _WHITES[-1])
    factor = np.float32(255) / np.float32(white)
    scaled = np.empty(gray.shape, np.uint8)
    rows = max(1, _BAND // gray.shape[1])
    for top in range(0, len(gray), rows):
        scaled[top : top + rows] = to_uint8(gray[top : top + rows] * factor)
    return scaled
