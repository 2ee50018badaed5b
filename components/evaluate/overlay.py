"""Draws attention maps over X-rays."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.evaluate.boxes import SIDE, Box

PANEL = 512  # pixels, the longest side of an X-ray on the sheet
COLUMNS = 4  # panels side by side
_GAP, _LINE = 16, 24  # pixels
_BAR = 14  # pixels, height of the colour bar
_MAX_ALPHA = 0.6  # of the map's highest place over the X-ray
_INK, _SOFT, _GROUND, _BOX = (235, 235, 235), (165, 165, 165), (22, 24, 28), (0, 255, 255)


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet."""

    title: str
    text: str
    attention: np.ndarray | None  # [H, W] over the X-ray; None shows the X-ray alone
    boxes: Sequence[Box] = ()


def over_image(attention: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brings a map from what the model saw to the X-ray's own pixels, smoothly.

    The model sees X-rays letterboxed into a square (components/transform/images.py), so the map is
    spread over the square and its margins are cut off.

    Args:
        attention: float [h, w].
        height: of the X-ray, pixels.
        width: of the X-ray, pixels.

    Returns:
        float32 [height, width], within the range of `attention`.
    """
    side = max(height, width)
    spread = cv2.resize(attention.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    spread = spread.clip(attention.min(), attention.max())  # cubic curves overshoot
    top, left = (side - height) // 2, (side - width) // 2
    return spread[top : top + height, left : left + width]


def sheet(image: np.ndarray, panels: Sequence[Panel], head: Sequence[str]) -> np.ndarray:
    """One picture of all panels.

    Args:
        image: the X-ray, uint8 [H, W].
        panels: drawn in order, COLUMNS in a row; maps lie over the X-ray with their own colour
            scale, whose ends are written below.
        head: lines above the panels.

    Returns:
        uint8 RGB.
    """
    pictures = [_picture(image, panel) for panel in panels]
    height, width = pictures[0].shape[:2]
    # Narrow X-rays still need room for their texts.
    cell_width = max(width, PANEL * 3 // 4) + _GAP
    cell_height = 2 * _LINE + height + _BAR + _LINE + _GAP
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    top = _GAP + len(head) * _LINE + _GAP // 2
    size = (_GAP + columns * cell_width, top + rows * cell_height)
    canvas = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(head):
        draw.text((_GAP, _GAP + i * _LINE), line, _INK if i == 0 else _SOFT, _font(17))
    for i, (panel, picture) in enumerate(zip(panels, pictures, strict=True)):
        x = _GAP + i % columns * cell_width
        y = top + i // columns * cell_height
        draw.text((x, y), panel.title, _INK, _font(18))
        draw.text((x, y + _LINE), panel.text, _SOFT, _font(15))
        y += 2 * _LINE
        canvas.paste(Image.fromarray(picture), (x, y))
        if panel.attention is not None:
            _draw_bar(canvas, draw, x, y + height + 4, width, panel.attention)
    return np.asarray(canvas)


def _picture(image: np.ndarray, panel: Panel) -> np.ndarray:
    """The X-ray at panel size with its map and boxes, uint8 RGB."""
    scale = PANEL / max(image.shape)
    size = tuple(max(1, round(side * scale)) for side in reversed(image.shape))
    shrinks = scale < 1
    gray = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    picture = np.repeat(gray[..., None], 3, axis=2)
    if panel.attention is not None:
        height = _heights(cv2.resize(panel.attention.astype(np.float32), size))
        colours = _colours(height)
        alpha = _MAX_ALPHA * height[..., None]
        picture = (picture * (1 - alpha) + colours * alpha).round().astype(np.uint8)
    for box in panel.boxes:
        x, y = size[0] / SIDE, size[1] / SIDE
        corners = [(box.x * x, box.y * y), ((box.x + box.width) * x, (box.y + box.height) * y)]
        start, end = (tuple(round(value) for value in corner) for corner in corners)
        picture = cv2.rectangle(picture.copy(), start, end, _BOX, 2)
    return picture


def _draw_bar(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, width: int, values: np.ndarray
) -> None:
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (_BAR, 1))
    canvas.paste(Image.fromarray(_colours(ramp)), (x, y))
    low, high = (f"{value:.3g}" for value in (values.min(), values.max()))
    draw.text((x, y + _BAR + 2), low, _SOFT, _font(14))
    draw.text((x + width, y + _BAR + 2), high, _SOFT, _font(14), anchor="ra")


def _heights(values: np.ndarray) -> np.ndarray:
    """Stretches a map to 0..1; one without any relief becomes 0."""
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def _colours(heights: np.ndarray) -> np.ndarray:
    """0..1 -> uint8 RGB."""
    scaled = (255 * heights).round().astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
