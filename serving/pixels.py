"""The pixel stream of a PNG: what it inflates to, and that it is what the header promises.

A stream can inflate to a thousand times its size, whatever the header says, and decoders go to its
end: 1 MB costs them 4 s. ISA-L inflates an X-ray in a third of the time that the decoders' zlib
takes, and a stream of stored blocks needs no inflating: `unpack` saves more time than it costs.
"""

import contextlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from isal import isal_zlib

from cxrflow.schema.image_rules import BadImage
from cxrflow.schema.portable.image_rules import PNG_START, read_ihdr
from cxrflow.schema.portable.png_stream import (
    EXCESS,
    MOST,
    passes,
    promised_bytes,
    small_parts,
)

_BLOCK = 2**16 - 1  # bytes that a stored block holds (RFC 1951, 3.2.4)
_ZLIB_HEADER = b"\x78\x01"
_GRAY_PIXEL, _DEEP_GRAY_PIXEL, _COLOUR_PIXEL, _JPEG_PIXEL = 2, 8, 24, 8  # bytes


def pixel_bytes(data: bytes) -> int:
    """Most bytes that a pixel takes while a model's graph decodes it, by the file's kind.

    Measured on `cxrflow.components.images.decoding.decode`, which reads a gray PNG as it is and
    composites a colour one from floats. It asks a JPEG for gray; a progressive one is held whole.
    """
    if not data.startswith(PNG_START):
        return _JPEG_PIXEL
    header = read_ihdr(data)
    if header.colour:
        return _COLOUR_PIXEL
    return _GRAY_PIXEL if header.depth <= 8 else _DEEP_GRAY_PIXEL


def unpack(data: bytes, most: int) -> bytes:
    """An image whose decoding costs what its header promises; pixels are stored, not compressed.

    Args:
        data: a PNG or JPEG that `cxrflow.schema.image_rules.check_image` passed.
        most: bytes of the result; in place of a larger one comes `data`.

    Returns:
        A PNG of the same pixels, or `data` itself: a JPEG, and a PNG with anything wrong that is
        the decoder's to judge.

    Raises:
        BadImage: the pixels inflate to more than twice what the header promises.
    """
    if not data.startswith(PNG_START):
        return data
    promised = promised_bytes(passes(*read_ihdr(data)))
    begin, end, chunks, sound = _pixel_chunks(data)
    kept: list[bytes] | None = [] if sound and begin + promised + len(data) - end < most else None
    try:
        exact = _inflate(isal_zlib.decompressobj(), chunks, promised, kept)
    except isal_zlib.error:  # type: ignore[misc]  # isal declares no class
        # How far a decoder comes only its own library knows.
        with contextlib.suppress(zlib.error):
            _inflate(zlib.decompressobj(), chunks, promised)
        return data
    if not exact or kept is None:
        return data
    return b"".join((data[:begin], *_stored(b"".join(kept)), data[end:]))


def _pixel_chunks(data: bytes) -> tuple[int, int, list[memoryview], bool]:
    """Where the IDAT chunks begin and end, their contents, and whether their checksums hold."""
    view, at = memoryview(data), len(PNG_START)
    begin, chunks, sound = 0, [], True
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind == b"IDAT":
            begin = begin or at
            content = view[at + 8 : end - 4]
            chunks.append(content)
            sound = sound and end <= len(data) and _crc(b"IDAT", content) == view[end - 4 : end]
        elif begin:
            break
        at = end
    return begin, min(at, len(data)), chunks, sound


def _inflate(
    inflater: Any, chunks: Sequence[memoryview], promised: int, kept: list[bytes] | None = None
) -> bool:
    """Whether the stream inflates to what is promised, and ends there; its pieces go to `kept`."""
    total = 0
    for part in small_parts(chunks):
        if inflater.eof:
            return False
        piece = inflater.decompress(part)
        total += len(piece)
        if total > MOST * promised:
            raise BadImage(EXCESS, promised)
        if kept is not None:
            kept.append(piece)
    return total == promised and inflater.eof and not inflater.unused_data


def _stored(raw: bytes) -> Iterator[bytes | memoryview]:
    """An IDAT chunk with `raw` in stored blocks."""
    view = memoryview(raw)
    body: list[bytes | memoryview] = [b"IDAT", _ZLIB_HEADER]
    for at in range(0, len(raw), _BLOCK):
        block = view[at : at + _BLOCK]
        last, size = at + _BLOCK >= len(raw), len(block)
        body += struct.pack("<BHH", last, size, size ^ 0xFFFF), block
    body.append(struct.pack(">I", isal_zlib.adler32(raw)))
    yield struct.pack(">I", sum(map(len, body)) - 4)
    yield from body
    yield _crc(*body)


def _crc(*parts: bytes | memoryview) -> bytes:
    """A chunk's checksum, of its kind and content."""
    crc = 0
    for part in parts:
        crc = isal_zlib.crc32(part, crc)
    return struct.pack(">I", crc)
