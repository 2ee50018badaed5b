import random
import struct
import tempfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from cxrflow.components.ingest.image import BadImage, read_header, read_image, verify_png
from cxrflow.components.ingest.quarantine import Reason
from cxrflow.schema import image_rules
from cxrflow.schema.portable.image_rules import PADDING, Header, Limits
from tests.support.odd_images import OK, make_odd_images

ODD = make_odd_images()
LIMITS = Limits(min_side=64, max_side=4096, max_bytes=2**20)
# 4 rows of 3 pixels, each with filter 0.
RAW = bytes([0, 10, 20, 30] * 4)


def refused(path, data: bytes, read=read_image) -> str:
    path.write_bytes(data)
    with pytest.raises(BadImage) as caught:
        read(path, LIMITS)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16", "LA"])
@pytest.mark.parametrize("read", [read_image, read_header])
def test_accepts_whole_pngs_of_every_pixel_format(tmp_path, picture, mode, read):
    (tmp_path / "x.png").write_bytes(picture(70, mode=mode, height=90))
    result = read(tmp_path / "x.png", LIMITS)
    assert (result[1] if read is read_image else result) == Header("png", 70, 90)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_accepts_whole_jpegs(tmp_path, picture, mode):
    data = picture(70, "JPEG", mode, 90)
    (tmp_path / "x.png").write_bytes(data)
    assert read_image(tmp_path / "x.png", LIMITS) == (data, Header("jpeg", 70, 90))
    assert read_header(tmp_path / "x.png", LIMITS) == Header("jpeg", 70, 90)


def test_accepts_progressive_jpegs(tmp_path):
    Image.linear_gradient("L").save(tmp_path / "x.jpg", progressive=True)
    assert read_image(tmp_path / "x.jpg", LIMITS)[1] == Header("jpeg", 256, 256)


@pytest.mark.parametrize("read", [read_image, read_header])
def test_reasons_that_the_header_shows(tmp_path, picture, png, read):
    whole, jpeg = picture(), picture(kind="JPEG")
    cases = {
        "empty": (b"", Reason.EMPTY),
        "one byte": (b"\x89", Reason.TRUNCATED),
        "half a header": (whole[:20], Reason.TRUNCATED),
        "half a file": (whole[: len(whole) // 2], Reason.TRUNCATED),
        "without its last byte": (whole[:-1], Reason.TRUNCATED),
        "half a JPEG": (jpeg[: len(jpeg) // 2], Reason.TRUNCATED),
        "JPEG without its last byte": (jpeg[:-1], Reason.TRUNCATED),
        "text": (b"<html>404</html>" * 9, Reason.NOT_PNG_OR_JPEG),
        "GIF": (picture(kind="GIF"), Reason.NOT_PNG_OR_JPEG),
        "TIFF": (picture(kind="TIFF"), Reason.NOT_PNG_OR_JPEG),
        "1 pixel": (picture(1), Reason.TOO_SMALL),
        "63 pixels": (picture(63, height=100), Reason.TOO_SMALL),
        "small JPEG": (picture(63, kind="JPEG"), Reason.TOO_SMALL),
        "4097 pixels": (picture(4097, height=64), Reason.TOO_MANY_PIXELS),
        "no width": (png(0, 64, b""), Reason.CORRUPT),
        "3 bits": (png(64, 64, b"", depth=3), Reason.CORRUPT),
        "16-bit palette": (png(64, 64, b"", depth=16, colour=3), Reason.CORRUPT),
        "unknown interlacing": (png(64, 64, b"", interlace=2), Reason.CORRUPT),
        "CMYK JPEG": (picture(kind="JPEG", mode="CMYK"), Reason.CORRUPT),
        "bytes after the end of a JPEG": (jpeg + b"PK", Reason.CORRUPT),
        "large file": (whole + bytes(2**20), Reason.TOO_LARGE_FILE),
    }
    got = {name: refused(tmp_path / "x.png", data, read) for name, (data, _) in cases.items()}
    assert got == {name: reason for name, (_, reason) in cases.items()}


def test_a_folder_or_nothing_where_a_file_should_be(tmp_path):
    for name, reason in ((".", Reason.UNREADABLE), ("none.png", Reason.MISSING)):
        for read in (read_image, read_header):
            with pytest.raises(BadImage) as caught:
                read(tmp_path / name, LIMITS)
            assert caught.value.reason == reason


def test_a_bomb_is_refused_by_its_header(tmp_path, png):
    # TensorFlow takes such a file and needs 3.9 s and 400 MB to decode it.
    packed = zlib.compress(bytes(50_000_000))
    data = png(20_000, 20_000, b"", stream=packed)
    assert refused(tmp_path / "x.png", data) == Reason.TOO_MANY_PIXELS
    # Nor does a header that lies about the size make it inflate more than it promises.
    lying = png(64, 64, b"", stream=packed)
    assert refused(tmp_path / "x.png", lying) == Reason.CORRUPT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (dict(raw=RAW[:-1]), Reason.CORRUPT),  # a byte short
        (dict(raw=RAW + b"\0"), Reason.CORRUPT),  # a byte too many
        (dict(raw=RAW[:8] + b"\x05" + RAW[9:]), Reason.CORRUPT),  # filter 5 in the third row
        (dict(stream=b"not zlib"), Reason.CORRUPT),
        (dict(stream=b""), Reason.CORRUPT),
        (dict(stream=zlib.compress(RAW)[:-2]), Reason.CORRUPT),  # half its checksum
        (dict(stream=zlib.compress(RAW)[:-1] + b"\0"), Reason.CORRUPT),  # a wrong checksum
        (dict(colour=3), Reason.CORRUPT),  # no palette
    ],
)
def test_right_checksums_do_not_hide_wrong_pixels(png, change, reason):
    with pytest.raises(BadImage) as caught:
        verify_png(png(3, 4, **{"raw": RAW} | change))
    assert caught.value.reason == reason


def test_chunks_out_of_place(tmp_path, png, png_chunk):
    ihdr = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 4, 8, 0, 0, 0, 0))
    good = png(3, 4, RAW, before=png_chunk(b"tEXt", b"Comment\0x"), after=png_chunk(b"tIME", b"1"))
    path, limits = tmp_path / "x.png", Limits(min_side=3, max_side=4, max_bytes=1000)
    path.write_bytes(good)
    assert read_image(path, limits)[0] == good
    cases = {
        "two palettes": (png(3, 4, RAW, before=2 * png_chunk(b"PLTE", bytes(6))), Reason.CORRUPT),
        "palette of 4 bytes": (png(3, 4, RAW, before=png_chunk(b"PLTE", bytes(4))), Reason.CORRUPT),
        "second header": (png(3, 4, RAW, before=ihdr), Reason.CORRUPT),
        "unknown critical chunk": (png(3, 4, RAW, before=png_chunk(b"ABCD", b"")), Reason.CORRUPT),
        "pixels in two runs": (
            png(3, 4, RAW, after=png_chunk(b"tIME", b"1") + png_chunk(b"IDAT", b"")),
            Reason.CORRUPT,
        ),
        "animation": (png(3, 4, RAW, before=png_chunk(b"acTL", bytes(8))), Reason.ANIMATED),
        "archive at the end": (good + b"PK\3\4", Reason.CORRUPT),
        "no pixels": (good[:33] + png_chunk(b"IEND", b""), Reason.CORRUPT),
    }
    for name, (data, reason) in cases.items():
        path.write_bytes(data)
        with pytest.raises(BadImage) as caught:
            read_image(path, limits)
        assert caught.value.reason == reason, name


FORMATS = [(d, 0) for d in (1, 2, 4, 8, 16)] + [(d, 3) for d in (1, 2, 4, 8)]
FORMATS += [(d, c) for c in (2, 4, 6) for d in (8, 16)]


@pytest.mark.parametrize(("depth", "colour"), FORMATS)
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 2), (8, 8), (300, 301)])
def test_knows_how_many_bytes_every_format_inflates_to(
    png, png_chunk, depth, colour, interlace, size
):
    """Adam7's passes against Pillow's decoder: the one length that it takes is the one we take."""
    width, height = size
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if interlace:
        # The pass of each pixel in Adam7's 8x8 pattern (PNG specification, figure 9).
        odd = ["77777777", "56565656", "77777777"]
        pattern = ["16462646", *odd, "36463646", *odd]
        passes = [pattern[y % 8][x % 8] for y in range(height) for x in range(width)]
        rows = []
        for number in "1234567":
            columns = {i % width for i, p in enumerate(passes) if p == number}
            lines = {i // width for i, p in enumerate(passes) if p == number}
            rows += [bytes(1 + (len(columns) * bits + 7) // 8)] * len(lines)
        raw = b"".join(rows)
    else:
        raw = bytes(1 + (width * bits + 7) // 8) * height
    palette = png_chunk(b"PLTE", bytes(3 * 2**depth)) if colour == 3 else b""
    kind = dict(depth=depth, colour=colour, interlace=interlace, before=palette)
    Image.open(BytesIO(png(width, height, raw, **kind))).load()
    verify_png(png(width, height, raw, **kind))
    for wrong in (raw[:-1], raw + b"\0", b"\x05" + raw[1:]):
        with pytest.raises(BadImage):
            verify_png(png(width, height, wrong, **kind))


def noise_png() -> bytes:
    buffer = BytesIO()
    pixels = random.Random(1).randbytes(64 * 64)
    Image.frombytes("L", (64, 64), pixels).save(buffer, "PNG")
    return buffer.getvalue()


WHOLE = noise_png()


def judge(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.png"
        path.write_bytes(data)
        read_image(path, LIMITS)


@given(at=st.integers(0, len(WHOLE) - 1), change=st.integers(1, 255))
def test_no_changed_byte_goes_unseen(at, change):
    data = bytearray(WHOLE)
    data[at] ^= change
    with pytest.raises(BadImage):
        judge(bytes(data))


@given(length=st.integers(0, len(WHOLE) - 1))
def test_no_cut_goes_unseen(length):
    with pytest.raises(BadImage):
        judge(WHOLE[:length])


@given(at=st.integers(0, len(WHOLE)), extra=st.binary(min_size=1, max_size=40))
def test_no_inserted_bytes_go_unseen(at, extra):
    assume(at < len(WHOLE) or extra.strip(PADDING))
    with pytest.raises(BadImage):
        judge(WHOLE[:at] + extra + WHOLE[at:])


@given(st.data())
def test_what_passes_decodes(png, data):
    """Bad pixels under right checksums: whatever is let through, a decoder takes."""
    raw = b"".join(b"\1" + random.Random(y).randbytes(40) for y in range(30))
    stream = bytearray(zlib.compress(raw))
    for at in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=3)):
        stream[at] ^= data.draw(st.integers(1, 255))
    image = png(40, 30, b"", stream=bytes(stream))
    try:
        verify_png(image)
    except BadImage:
        return
    Image.open(BytesIO(image)).load()


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_held_to_the_rules_of_served_ones(tmp_path: Path, kind: str) -> None:
    odd, path = ODD[kind], tmp_path / "odd"
    path.write_bytes(odd.data)
    try:
        data, _ = read_image(path, image_rules.portable(image_rules.ImageLimits()))
        assert data == odd.data
        accepted = True
    except BadImage as error:
        assert error.detail and "\n" not in error.detail
        accepted = False
    assert accepted == odd.by_ingest
    assert not accepted or odd.outcome == OK  # nothing that a server refuses
