"""Looks at the images of a request before any is decoded, and at what they will cost."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2

from cxrflow.schema.features import IMAGE, T_IMAGE
from cxrflow.schema.image_rules import BadImage, ImageLimits, check_image
from cxrflow.serving.pixels import pixel_bytes, unpack
from cxrflow.serving.servable import EXAMPLES, IMAGE_BYTES
from cxrflow.serving.settings import ServerConfig
from cxrflow.serving.status import invalid

T = TypeVar("T")

_GRAPH_LIMITS = ImageLimits()
_TENSOR_PROTO = b"\x08"  # how a serialized tensor starts: its dtype


def check_images(inputs: dict[str, np.ndarray], config: ServerConfig) -> None:
    """Looks at images; nothing is decoded. PNGs are unpacked, as far as memory allows.

    All headers first: what the whole request costs is known before any of it is spent. An image
    that stands in many rows, as the last one of too few values does, is looked at once.
    """
    left = config.max_decoded_bytes
    for name, measure in ((IMAGE_BYTES, _decoded), (EXAMPLES, _decoded_example)):
        for i, size in _each(inputs.get(name), partial(measure, limits=config.images)):
            left -= size
            if left < 0:
                raise invalid(
                    f"image {i}: decoding the request would take more than "
                    f"{config.max_decoded_bytes:,} bytes; send fewer or smaller images"
                )
    room = config.max_message_bytes

    def unpacked(image: bytes) -> bytes:
        nonlocal room
        found = unpack(image, min(room, _GRAPH_LIMITS.max_bytes))
        room -= len(found)
        return found

    images = inputs.get(IMAGE_BYTES)
    if images is not None:
        for i, image in list(_each(images, unpacked)):
            images.flat[i] = image


def _each(values: np.ndarray | None, look: Callable[[bytes], T]) -> Iterator[tuple[int, T]]:
    """Each row's number and what `look` says of it, once an object."""
    if values is None or values.dtype != object:
        return
    found: dict[int, T] = {}
    for i, value in enumerate(values.flat):
        if id(value) not in found:
            try:
                found[id(value)] = look(value)
            except BadImage as error:
                where = f"image {i}: " if values.size > 1 else ""
                raise invalid(where + error.reason) from None
        yield i, found[id(value)]


def _decoded(data: bytes, limits: ImageLimits) -> int:
    """Bytes that decoding an image takes, from its header. Raises BadImage."""
    header = check_image(data, limits)
    return header.width * header.height * pixel_bytes(data)


def _decoded_example(serialized: bytes, limits: ImageLimits) -> int:
    """Bytes that decoding the images of a raw or transformed tf.Example takes. Raises BadImage."""
    try:
        features = example_pb2.Example.FromString(serialized).features.feature
    except DecodeError:
        raise BadImage("not a tf.Example") from None
    total = 0
    for name in (IMAGE, T_IMAGE):
        for value in features[name].bytes_list.value if name in features else ():
            if name == T_IMAGE and value.startswith(_TENSOR_PROTO):
                _check_raw(value, limits)
                total += len(value)
            else:
                total += _decoded(value, limits if name == IMAGE else replace(limits, min_side=1))
                unpack(value, 0)  # refuses pixels that are more than the header says
    return total


def _check_raw(serialized: bytes, limits: ImageLimits) -> None:
    """A serialized tensor can claim any size in a few bytes."""
    try:
        proto = tensor_pb2.TensorProto.FromString(serialized)
    except DecodeError:
        raise BadImage("not a serialized tensor") from None
    pixels = 1
    for dim in proto.tensor_shape.dim:
        pixels *= dim.size
    if proto.dtype != types_pb2.DT_UINT8 or not 0 <= pixels <= limits.max_side**2:
        raise BadImage("not a serialized image")
