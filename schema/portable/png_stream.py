"""What a PNG's pixels inflate to, told from its header: one authority for host and device.

Standard library only, and imports none of its neighbours: the device has it as a copied file.
"""

from typing import Iterable, Iterator, List, NamedTuple

# Channels by colour type (PNG specification, table 11.1).
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column, first row, column step, row step of each pass.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip  # noqa: E501
_WHOLE = ((0, 0, 1, 1),)
# Times what the header promises: decoders go to a stream's end, and a few bytes too many are usual.
MOST = 2
_STEP = 2**12  # bytes; they inflate to 4 MB at most

# Why an image is refused whose pixels inflate to more than MOST times as much.
EXCESS = "its pixels inflate to more than twice the {} bytes that its header promises"


class Pass(NamedTuple):
    """Some of an interlaced image's pixels, or all of another's."""

    left: int  # its first column in the image
    top: int  # its first row
    across: int  # columns of the image from one to the next
    down: int  # rows
    width: int  # pixels
    height: int  # rows
    stride: int  # bytes of a row, with the one that names its filter


def passes(width: int, height: int, depth: int, colour: int, interlaced: int) -> List[Pass]:
    """The passes that have pixels, in the stream's order, from the values of an Ihdr."""
    bits = depth * CHANNELS[colour]
    found = []
    for left, top, across, down in _ADAM7 if interlaced else _WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 < rows:
            stride = 1 + (columns * bits + 7) // 8
            found.append(Pass(left, top, across, down, columns, rows, stride))
    return found


def promised_bytes(parts: Iterable[Pass]) -> int:
    """What the pixels of all passes inflate to."""
    return sum(part.height * part.stride for part in parts)


def small_parts(chunks: Iterable[memoryview]) -> Iterator[memoryview]:
    """Small parts: a bomb, at most 1,032 to 1, is noticed early and buffers stay in the cache."""
    for chunk in chunks:
        for at in range(0, len(chunk), _STEP):
            yield chunk[at : at + _STEP]
