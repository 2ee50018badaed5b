"""Bad and odd images and what becomes of each: from server, SavedModel, client, device, ingest."""

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from cxrflow.schema.portable.image_rules import DAMAGED, PNG_END, PNG_START

OK = "ok"
WIDTH, HEIGHT = 96, 80
GRAY = (np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) + 40).astype(np.uint8)

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip  # noqa: E501
_EXIF_ROTATED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"

_UNKNOWN = "neither a PNG nor a JPEG"
_TEXT = "its compressed comments are too many or too large"
_CUT = "cut short, or other bytes follow the end of the image"
_BAD_PNG, _BAD_JPEG = "not a valid PNG header", "not a valid JPEG header"


@dataclass(frozen=True)
class Odd:
    """A file, and its outcome: OK, DAMAGED (known once it is decoded) or why it is refused."""

    data: bytes
    outcome: str
    gray: np.ndarray | None = None  # what is served, uint8 [height, width], where worth a test
    by_graph: str = ""  # the SavedModel's outcome, where its ops can't tell
    # Whether ingest takes it for training; it may refuse more than a server, and never less.
    trained_on: bool | None = None

    @property
    def by_ingest(self) -> bool:
        """Whether ingest accepts it."""
        return self.outcome == OK if self.trained_on is None else self.trained_on


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def craft_png(
    width: int,
    height: int,
    stream: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    interlace: int = 0,
    before: bytes = b"",
) -> bytes:
    """A PNG of any header, with a zlib `stream` of pixels and chunks `before` them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return PNG_START + chunk(b"IHDR", header) + before + chunk(b"IDAT", stream) + PNG_END


@cache
def bomb(side: int = 20_000) -> bytes:
    """A black PNG, square, of a thousandth of its pixels in bytes; the side in hundreds."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    band = deflate.compress(bytes((side + 1) * 100)) + deflate.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", side * (side + 1) % 65_521, 1)  # Adler-32 of so many zeros
    stream = b"\x78\xda" + band * (side // 100) + deflate.flush() + checksum
    return craft_png(side, side, stream)


@cache
def make_odd_images() -> dict[str, Odd]:
    """The table, by kind."""
    return (
        _odd_pngs() | _broken_pngs() | _odd_jpegs() | _broken_jpegs()
        | _padded() | _commented() | _others()
    )  # fmt: skip


def _odd_pngs() -> dict[str, Odd]:
    rows = _rows(GRAY)
    palette = Image.fromarray(GRAY, "P")
    palette.putpalette([255 - i // 3 for i in range(768)])
    alpha = np.dstack([GRAY] * 3 + [np.full_like(GRAY, 51)])  # a fifth opaque
    text_bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**8), 9))
    html = chunk(b"tEXt", b"Comment\0<script>alert(1)</script>")
    return {
        "PNG": Odd(_png(GRAY), OK, GRAY),
        "interlaced PNG": Odd(_interlaced(), OK, GRAY),
        "16-bit PNG": Odd(_png(GRAY.astype(np.uint16) * 257), OK, GRAY),
        "12 bits in a 16-bit PNG": Odd(_png(_stretched(16)), OK, _stretched(1)),
        "palette PNG": Odd(_save(palette, "PNG"), OK, 255 - GRAY),
        "1-bit PNG": Odd(_save(Image.fromarray(GRAY > 127), "PNG"), OK, (GRAY > 127) * 255),
        "colour PNG": Odd(_png(np.dstack([GRAY] * 3)), OK, GRAY),
        "translucent PNG": Odd(_png(alpha), OK, np.floor(GRAY / 5 + 0.5)),
        "all black PNG": Odd(_png(GRAY * 0), OK, GRAY * 0),
        "PNG of 100x3000": Odd(_png(np.resize(GRAY, (3000, 100))), OK),
        "PNG with EXIF rotation": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=chunk(b"eXIf", _EXIF_ROTATED[6:])), OK, GRAY
        ),
        "PNG with HTML in a comment": Odd(craft_png(WIDTH, HEIGHT, rows, before=html), OK, GRAY),
        "PNG with a bomb in a comment": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=text_bomb), OK, GRAY
        ),
        "PNG with more pixels than it says": Odd(
            craft_png(WIDTH, HEIGHT, zlib.compress(zlib.decompress(rows) + bytes(5000))),
            OK,
            GRAY,
            trained_on=False,
        ),
        "PNG that inflates to 1,000 times its pixels": Odd(
            craft_png(WIDTH, HEIGHT, zlib.compress(zlib.decompress(rows) + bytes(8 * 10**6), 9)),
            "its pixels inflate to more than twice the 7760 bytes that its header promises",
            GRAY,
            by_graph=OK,
        ),
        "PNG in 20,000 pieces": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=chunk(b"IDAT", b"") * 20_000),
            "its pixels lie in more than 16384 pieces",
            GRAY,
            by_graph=OK,
        ),
        "smallest PNG": Odd(_png(GRAY[:64, :64]), OK, GRAY[:64, :64]),
        "1x1 PNG": Odd(_png(GRAY[:1, :1]), "1x1 pixels; each side must have 64 to 5120"),
        "PNG a pixel too small": Odd(
            _png(GRAY[:64, :63]), "63x64 pixels; each side must have 64 to 5120"
        ),
        "PNG a pixel too wide": Odd(
            _png(np.zeros((64, 5121), np.uint8)), "5121x64 pixels; each side must have 64 to 5120"
        ),
        "bomb": Odd(bomb(), "20000x20000 pixels; each side must have 64 to 5120"),
        "animated PNG": Odd(
            _save(
                Image.fromarray(GRAY), "PNG", save_all=True, append_images=[Image.fromarray(~GRAY)]
            ),
            "an animated PNG",
        ),
        "large file": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=chunk(b"prVt", bytes(2**24))),
            f"{2**24 + 12 + len(_png_of(rows))} bytes; at most 16777216 are accepted",
        ),
    }


def _broken_pngs() -> dict[str, Odd]:
    rows = _rows(GRAY)
    raw = zlib.decompress(rows)
    whole = _png_of(rows)
    pixels = whole.index(b"IDAT") + 40
    return {
        "PNG of 0x0": Odd(craft_png(0, 0, rows), _BAD_PNG),
        "PNG of 2**31 columns": Odd(craft_png(2**31, 80, rows), _BAD_PNG),
        "3-bit PNG": Odd(craft_png(WIDTH, HEIGHT, rows, depth=3), _BAD_PNG),
        "PNG header with a wrong checksum": Odd(whole[:29] + b"\0" * 4 + whole[33:], _BAD_PNG),
        "PNG signature": Odd(PNG_START, _BAD_PNG),
        "PNG header cut short": Odd(whole[:20], _BAD_PNG),
        "PNG without pixels": Odd(whole[:33] + PNG_END, _CUT),
        "PNG cut in half": Odd(whole[: len(whole) // 2], _CUT),
        "PNG without its last byte": Odd(whole[:-1], _CUT),
        "PNG and ZIP in one": Odd(whole + b"PK\x03\x04" + bytes(30), _CUT),
        "PNG of 300 comments": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=chunk(b"tEXt", b"a\0b") * 300), _BAD_PNG
        ),
        "bit-flipped PNG": Odd(
            whole[:pixels] + bytes([whole[pixels] ^ 4]) + whole[pixels + 1 :], DAMAGED
        ),
        "PNG with its pixels cut short": Odd(
            craft_png(WIDTH, HEIGHT, rows[: len(rows) // 2]), DAMAGED
        ),
        "PNG with rows missing": Odd(craft_png(WIDTH, HEIGHT, zlib.compress(raw[:-500])), DAMAGED),
        "PNG with an unknown row filter": Odd(
            craft_png(WIDTH, HEIGHT, zlib.compress(b"\x05" + raw[1:])), DAMAGED
        ),
        "PNG that lacks its palette": Odd(craft_png(WIDTH, HEIGHT, rows, colour=3), DAMAGED),
        "PNG with an unknown critical chunk": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=chunk(b"ABCD", b"?")), DAMAGED
        ),
    }


def _odd_jpegs() -> dict[str, Odd]:
    picture = Image.fromarray(GRAY)
    whole = _jpeg()
    progressive = _jpeg(progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    frame = whole.index(b"\xff\xc0")
    kind = "a JPEG of {} channels and {} bits, SOF{}; baseline or progressive, gray or colour of 8 bits is accepted"  # fmt: skip  # noqa: E501

    def changed(offset: int, value: int) -> bytes:
        return whole[: frame + offset] + bytes([value]) + whole[frame + offset + 1 :]

    return {
        "JPEG": Odd(whole, OK),
        "colour JPEG": Odd(_save(picture.convert("RGB"), "JPEG"), OK),
        "progressive JPEG": Odd(progressive, OK),
        "JPEG with fill bytes": Odd(whole[:2] + b"\xff\xff" + whole[2:], OK),
        "JPEG with EXIF rotation": Odd(_jpeg(exif=_EXIF_ROTATED), OK),
        "CMYK JPEG": Odd(_save(picture.convert("CMYK"), "JPEG"), kind.format(4, 8, 0)),
        "12-bit JPEG": Odd(changed(4, 12), kind.format(1, 12, 0)),
        "lossless JPEG": Odd(changed(1, 0xC3), kind.format(1, 8, 3)),
        "arithmetic-coded JPEG": Odd(changed(1, 0xC9), kind.format(1, 8, 9)),
        "JPEG bomb": Odd(
            changed(5, 0x4E)[: frame + 7] + b"\x4e\x20" + whole[frame + 9 :],
            "20000x20048 pixels; each side must have 64 to 5120",
        ),
        "JPEG of 100 scans": Odd(
            progressive[:-2] + scan * 100 + b"\xff\xd9", "a JPEG of more than 64 scans"
        ),
    }


def _broken_jpegs() -> dict[str, Odd]:
    whole = _jpeg()
    frame, tables = whole.index(b"\xff\xc0"), whole.index(b"\xff\xc4")
    scan = whole.index(b"\xff\xda")
    middle = (scan + len(whole)) // 2
    flipped = bytes(byte ^ 0x10 for byte in whole[middle : middle + 3])
    comment = b"\xff\xfe\0\x02"
    return {
        "two JPEGs in one": Odd(whole + whole, _CUT),
        "JPEG and ZIP in one": Odd(whole + b"PK\x03\x04", _CUT),
        "JPEG cut in half": Odd(whole[:middle], _CUT),
        "JPEG header cut short": Odd(whole[: frame + 3], _CUT),
        "JPEG without its last byte": Odd(whole[:-1], _CUT),
        "JPEG without a size": Odd(whole[: frame + 5] + bytes(4) + whole[frame + 9 :], _BAD_JPEG),
        "JPEG without a frame": Odd(whole[:frame] + whole[tables:], _BAD_JPEG),
        "JPEG with garbage for a header": Odd(whole[:2] + b"garbage" + whole[2:], _BAD_JPEG),
        "JPEG of 300 comments": Odd(whole[:2] + comment * 300 + whole[2:], _BAD_JPEG),
        "JPEG without quantization tables": Odd(
            whole[: whole.index(b"\xff\xdb")] + whole[frame:], DAMAGED
        ),
        # JPEG has no checksums: what the decoder makes of the pixels is served.
        "bit-flipped JPEG": Odd(whole[:middle] + flipped + whole[middle + 3 :], OK),
        "JPEG with its pixels cut short": Odd(whole[:middle] + b"\xff\xd9", OK),
    }


def _padded() -> dict[str, Odd]:
    """Bytes after an image's end: zeros and 0xFF fill a buffer up, others may be a second file."""
    jpeg, png = _jpeg(), _png(GRAY)
    pads = {
        "a zero": b"\0",
        "three zeros": bytes(3),
        "a 0xFF": b"\xff",
        "four 0xFF": b"\xff" * 4,
        "zeros and 0xFF": b"\xff\xff\0\0\xff\0",
        "4,096 zeros": bytes(4096),
        "1 MiB of zeros": bytes(2**20),
    }
    more = {
        "more than 1 MiB of zeros": bytes(2**20 + 1),
        "a line break": b"\n",
        "zeros and a ZIP": bytes(16) + b"PK\x03\x04" + bytes(30),
        "zeros, a ZIP and zeros": bytes(512) + b"PK\x03\x04" + bytes(512),
        "0xFF and HTML": b"\xff" * 8 + b"<script>",
        "zeros and a JPEG": bytes(16) + jpeg,
        "zeros and a PNG": bytes(16) + png[:-12],
        "zeros and a spare end marker": bytes(2) + b"\xff\xd9",
    }
    table = {}
    for kind, whole, gray in (("JPEG", jpeg, None), ("PNG", png, GRAY)):
        table |= {f"{kind} and {name}": Odd(whole + pad, OK, gray) for name, pad in pads.items()}
        table |= {f"{kind} and {name}": Odd(whole + pad, _CUT) for name, pad in more.items()}
    # Its last bytes are a PNG's, which is where the graph looks.
    table["PNG, a ZIP and the end of a PNG"] = Odd(
        png + b"PK\x03\x04" + bytes(30) + PNG_END, _CUT, by_graph=OK
    )
    return table


def _commented() -> dict[str, Odd]:
    """Compressed comments before and after the pixels: libpng inflates each to 8 MB at most."""
    rows = _rows(GRAY)
    zeros = zlib.compress(bytes(7_900_000), 9)  # 7.7 KB
    bombs = {
        "zTXt": chunk(b"zTXt", b"Comment\0\0" + zeros),
        "iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros),
        "iCCP": chunk(b"iCCP", b"Profile\0\0" + zeros),
    }
    plain = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x:xmpmeta/>" * 1000)
    small = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"PA, upright"))
    pixels = chunk(b"IDAT", rows)

    def after(comments: bytes) -> bytes:
        return craft_png(WIDTH, HEIGHT, rows).replace(pixels, pixels + comments)

    table = {
        "PNG with a large plain comment": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=plain * 12), OK, GRAY
        ),
        "PNG with a large plain comment after its pixels": Odd(after(plain * 12), OK, GRAY),
        "PNG with 100 small comments": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=small * 100), OK, GRAY
        ),
        "PNG with 100 small comments after its pixels": Odd(after(small * 100), OK, GRAY),
        "PNG with a name of compressed comments among its pixels": Odd(
            craft_png(WIDTH, HEIGHT, _stored_rows(b"zTXt")), OK
        ),
        "PNG with bombs before and after its pixels": Odd(
            craft_png(WIDTH, HEIGHT, rows, before=bombs["zTXt"] * 5).replace(
                pixels, pixels + bombs["iTXt"] * 5
            ),
            _TEXT,
            GRAY,
        ),
        "PNG with bombs after 300 comments": Odd(
            after(chunk(b"tEXt", b"a\0b") * 300 + bombs["zTXt"] * 20), _TEXT, GRAY
        ),
        "PNG with bombs after 20,000 comments": Odd(
            after(chunk(b"tEXt", b"a\0b") * 20_000 + bombs["zTXt"] * 20),
            "its pixels lie in more than 4096 pieces",
            GRAY,
        ),
    }
    for kind, one in bombs.items():
        before = craft_png(WIDTH, HEIGHT, rows, before=one * 10)
        table[f"PNG with ten bombs of {kind}"] = Odd(before, _TEXT, GRAY)
        table[f"PNG with ten bombs of {kind} after its pixels"] = Odd(after(one * 10), _TEXT, GRAY)
    return table


def _others() -> dict[str, Odd]:
    picture = Image.fromarray(GRAY)
    return {
        "nothing": Odd(b"", "empty"),
        "one byte": Odd(b"\x89", _UNKNOWN),
        "text": Odd(b"<html>404 Not Found</html>", _UNKNOWN),
        "Base64 of a PNG": Odd(b"iVBORw0KGgoAAAANSUhEUgAA", _UNKNOWN),
        "DICOM": Odd(bytes(128) + b"DICM" + bytes(100), _UNKNOWN),
        "random bytes": Odd(np.random.default_rng(0).bytes(1000), _UNKNOWN),
        **{
            kind: Odd(_save(picture, kind), _UNKNOWN)
            for kind in ("GIF", "BMP", "TIFF", "WEBP", "PPM")
        },
    }


def _rows(gray: np.ndarray) -> bytes:
    """The pixel stream of an 8-bit PNG, each row with filter 0."""
    return zlib.compress(np.pad(gray, ((0, 0), (1, 0))).tobytes())


def _stored_rows(within: bytes) -> bytes:
    """The pixel stream, not compressed, with some bytes among the pixels."""
    raw = bytearray(zlib.decompress(_rows(GRAY)))
    raw[10 : 10 + len(within)] = within
    return zlib.compress(bytes(raw), 0)


def _png_of(stream: bytes) -> bytes:
    return craft_png(WIDTH, HEIGHT, stream)


def _interlaced() -> bytes:
    passes = (GRAY[y::dy, x::dx] for x, y, dx, dy in _ADAM7)
    raw = b"".join(np.pad(part, ((0, 0), (1, 0))).tobytes() for part in passes)
    return craft_png(WIDTH, HEIGHT, zlib.compress(raw), interlace=1)


def _stretched(steps: int) -> np.ndarray:
    """A ramp that reaches white: 0 to 255 × steps (255 × 16 + 15 for 12 bits)."""
    ramp = np.resize(np.arange(256), (HEIGHT, 256))
    return ramp.astype(np.uint8) if steps == 1 else (ramp * steps + ramp // 16).astype(np.uint16)


def _png(pixels: np.ndarray) -> bytes:
    return _save(Image.fromarray(pixels), "PNG")


def _jpeg(**options: object) -> bytes:
    return _save(Image.fromarray(GRAY), "JPEG", quality=95, **options)


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
