"""Draws attention maps over X-rays."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrflow.components.images.blend import blend, colours
from cxrflow.components.localise.boxes import SIDE, Box

PANEL = 512  # pixels, the longest side of an X-ray on the sheet
COLUMNS = 4  # panels side by side
_GAP, _LINE, _NAME = 16, 24, 18  # pixels; the last is a box's name
_BAR = 14  # pixels, height of the colour bar
SCALE = "attention, share of the highest possible"
_INK, _SOFT, _GROUND, _BOX = (235, 235, 235), (165, 165, 165), (22, 24, 28), (0, 255, 255)


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet."""

    title: str
    text: str
    attention: np.ndarray | None  # [H, W] over the X-ray, in 0..1; None shows the X-ray alone
    boxes: Sequence[Box] = ()
    below: str = ""  # under the colour bar


def over_image(attention: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brings a map from what the model saw to the X-ray's own pixels, each cell of one value.

    The model sees X-rays letterboxed into a square (components/images/decoding.py), so the map is
    spread over the square and its margins are cut off.

    Args:
        attention: float [h, w].
        height: of the X-ray, pixels.
        width: of the X-ray, pixels.

    Returns:
        float32 [height, width], the values of `attention`.
    """
    side = max(height, width)
    spread = cv2.resize(attention.astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST)
    top, left = (side - height) // 2, (side - width) // 2
    return np.asarray(spread[top : top + height, left : left + width])


def sheet(image: np.ndarray, panels: Sequence[Panel], head: Sequence[str]) -> np.ndarray:
    """One picture of all panels.

    Args:
        image: the X-ray, uint8 [H, W].
        panels: drawn in order, COLUMNS in a row; maps lie over the X-ray, all on the scale from 0
            to 1 that is drawn below.
        head: lines above the panels.

    Returns:
        uint8 RGB.
    """
    pictures = [_picture(image, panel) for panel in panels]
    height, width = pictures[0].shape[:2]
    # Narrow X-rays still need room for their texts.
    cell_width = max(width, PANEL * 3 // 4) + _GAP
    cell_height = 2 * _LINE + height + _BAR + 2 * _LINE + _GAP
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    top = _GAP + len(head) * _LINE + _GAP // 2
    size = (_GAP + columns * cell_width, top + rows * cell_height)
    canvas = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(head):
        ink = _INK if i == 0 else _SOFT
        _text(draw, (_GAP, _GAP + i * _LINE), line, ink, 17, size[0] - 2 * _GAP)
    for i, (panel, picture) in enumerate(zip(panels, pictures, strict=True)):
        x = _GAP + i % columns * cell_width
        y = top + i // columns * cell_height
        _text(draw, (x, y), panel.title, _INK, 18, cell_width - _GAP)
        _text(draw, (x, y + _LINE), panel.text, _SOFT, 15, cell_width - _GAP)
        y += 2 * _LINE
        canvas.paste(Image.fromarray(picture), (x, y))
        for box in panel.boxes:
            _name_box(draw, box, (x, y), (width, height))
        if panel.attention is not None:
            _draw_bar(canvas, draw, x, y + height + 4, cell_width - _GAP)
            below = y + height + 4 + _BAR + _LINE
            _text(draw, (x, below), panel.below, _SOFT, 15, cell_width - _GAP)
    return np.asarray(canvas)


def _picture(image: np.ndarray, panel: Panel) -> np.ndarray:
    """The X-ray at panel size with its map and boxes, uint8 RGB."""
    scale = PANEL / max(image.shape)
    size = tuple(max(1, round(side * scale)) for side in reversed(image.shape))
    shrinks = scale < 1
    gray = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    picture = np.repeat(gray[..., None], 3, axis=2)
    if panel.attention is not None:
        picture = blend(gray, panel.attention)
    for box in panel.boxes:
        x, y = size[0] / SIDE, size[1] / SIDE
        corners = [(box.x * x, box.y * y), ((box.x + box.width) * x, (box.y + box.height) * y)]
        start, end = (tuple(round(value) for value in corner) for corner in corners)
        picture = cv2.rectangle(picture.copy(), start, end, _BOX, 2)
    return picture


def _name_box(
    draw: ImageDraw.ImageDraw, box: Box, origin: tuple[int, int], size: tuple[int, int]
) -> None:
    """Writes a box's name above it, or within it at the top of the X-ray."""
    font = _font(14)
    x, y = (place * side / SIDE for place, side in zip((box.x, box.y), size, strict=True))
    width = draw.textlength(box.name, font)
    left = origin[0] + min(max(x, 0), max(size[0] - width - 6, 0))
    top = origin[1] + (y - _NAME if y >= _NAME else y)
    draw.rectangle((left, top, left + width + 6, top + _NAME), fill=_GROUND)
    draw.text((left + 3, top + 1), box.name, _BOX, font)


def _draw_bar(canvas: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, width: int) -> None:
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (_BAR, 1))
    canvas.paste(Image.fromarray(colours(ramp)), (x, y))
    for text, at, anchor in ((0, x, "la"), (1, x + width, "ra")):
        draw.text((at, y + _BAR + 2), f"{text:.0%}", _SOFT, _font(14), anchor=anchor)
    draw.text((x + width / 2, y + _BAR + 2), SCALE, _SOFT, _font(14), anchor="ma")


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    ink: tuple[int, int, int],
    size: int,
    width: int,
) -> None:
    """One line, cut to a width in pixels."""
    font = _font(size)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(f"{text}…", font) > width:
            text = text[:-1]
        text += "…"
    draw.text(at, text, ink, font)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
