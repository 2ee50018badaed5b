"""X-rays as the model saw them, and its attention maps, for the report's pictures."""

import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cxrflow.components.images.blend import blend
from cxrflow.components.localise.boxes import SIDE, Box
from cxrflow.schema import features
from cxrflow.schema.errors import CxrflowError

LARGE, SMALL = 288, 112  # pixels, side of a picture
_QUALITY = 82  # of JPEG: X-rays of 288 pixels take about 10 KB
_BATCH = 8
_BOX = (0, 255, 255)


def read_compact(folder: Path, split: str, wanted: Collection[str]) -> dict[str, bytes]:
    """Compact images of a split by id, as Transform wrote them.

    Raises:
        CxrflowError: the records can't be read.
    """
    import tensorflow as tf

    from cxrflow.components.images.records import split_records

    found: dict[str, bytes] = {}
    try:
        for batch in split_records(folder / f"Split-{split}").batch(64).as_numpy_iterator():
            for serialized in batch:
                row = tf.train.Example.FromString(serialized).features.feature
                name = row[features.IMAGE_ID].bytes_list.value[0].decode()
                if name in wanted:
                    found[name] = row[features.T_IMAGE].bytes_list.value[0]
    except tf.errors.OpError as error:
        raise CxrflowError(f"the images of {split} can't be read: {error.message[:200]}") from None
    return found


def as_pixels(compact: bytes, encoding: str, side: int) -> np.ndarray:
    """uint8 [S, S] of a compact image."""
    if encoding == "raw":
        return np.frombuffer(compact, np.uint8).reshape(side, side)
    return np.asarray(Image.open(io.BytesIO(compact)).convert("L"))


def attention_maps(model: Path, images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """A map of each X-ray, uint8 [S, S]: float [h, w] for all classes or [h, w, C], in 0..1.

    Raises:
        CxrflowError: the model has no attention.
    """
    import tensorflow as tf

    signatures = tf.saved_model.load(str(model)).signatures
    if "attention" not in signatures:
        raise CxrflowError("The model has no attention signature: nothing says where it looks.")
    ask = signatures["attention"]
    for start in range(0, len(images), _BATCH):
        batch = [_png(pixels) for pixels in images[start : start + _BATCH]]
        yield from ask(image_bytes=tf.constant(batch))["attention"].numpy()


def picture(
    pixels: np.ndarray, side: int, attention: np.ndarray | None = None, boxes: Sequence[Box] = ()
) -> bytes:
    """A JPEG of an X-ray [S, S], with a map [h, w] on the scale from 0 to 1 over it, and boxes."""
    import cv2

    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    drawn = np.repeat(small[..., None], 3, axis=2) if attention is None else blend(small, attention)
    for box in boxes:
        scale = side / SIDE
        start = (round(box.x * scale), round(box.y * scale))
        end = (round((box.x + box.width) * scale), round((box.y + box.height) * scale))
        drawn = cv2.rectangle(np.ascontiguousarray(drawn), start, end, _BOX, 2)
    data = io.BytesIO()
    Image.fromarray(drawn).save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", compress_level=1)
    return data.getvalue()
