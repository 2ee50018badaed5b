"""A key image's pixels: the X-ray, where the model looks, and what it finds."""

from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrflow.serving.client import Answer, Finding

NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSIS"
_RESEARCH = "Research software, no medical device"
_BLACK, _WHITE, _GRAY = (0, 0, 0), (235, 235, 235), (150, 150, 150)
_RED, _AMBER = (255, 80, 80), (255, 190, 60)
_PANEL = 0.6  # of the picture's side: width of the findings
_OPACITY = 0.35  # of the map's colours
_TEXT = 0.026  # of the side: a letter's height
_LEAST_TEXT = 9  # pixels
_LEADING = 1.4  # from line to line, in letters

_Line = tuple[str, tuple[int, int, int]]  # and its colour
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(gray: np.ndarray, answer: Answer, side: int) -> np.ndarray:
    """The picture.

    Args:
        gray: uint8 [rows, columns], what the model was shown.
        answer: what it said; its map of attention is shown beside the X-ray, if there is one.
        side: of the X-ray's longer side, pixels.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    xray = _fit(gray, side)
    panels = [cv2.cvtColor(xray, cv2.COLOR_GRAY2RGB)]
    looked = shown_map(answer)
    if looked is not None:
        panels.append(_overlay(xray, looked[1]))
    letter = max(_LEAST_TEXT + 3, round(_TEXT * side))
    height, panel = max(xray.shape[0], side // 2), round(_PANEL * side)
    width = sum(each.shape[1] for each in panels) + panel
    canvas = Image.new("RGB", (width, height + 3 * letter), _BLACK)
    pen, left = ImageDraw.Draw(canvas), 0
    for each in panels:
        canvas.paste(Image.fromarray(each), (left, 0))
        _label(pen, (left, xray.shape[0]), each.shape[1], letter)
        left += each.shape[1]
    lines = findings_lines(answer, looked[0] if looked else "", "map")
    _write(canvas, list(lines), left, letter)
    return np.asarray(canvas)


def _write(canvas: Image.Image, lines: list[_Line], left: int, letter: int) -> None:
    """Fills the panel that begins at `left`, with smaller letters where they have no room."""
    width, pen = canvas.width - left - 2 * letter, ImageDraw.Draw(canvas)
    for size in range(letter, _LEAST_TEXT - 1, -1):
        font = _font(size)
        shown = [(part, colour) for text, colour in lines for part in _wrap(text, font, width)]
        if size * _LEADING * (len(shown) + 1) <= canvas.height:
            break
    most = int(canvas.height / (size * _LEADING)) - 1
    if len(shown) > most:
        shown[most - 1 :] = [("and more, see the report", _GRAY)]
    for number, (text, colour) in enumerate(shown):
        top = round(size * (0.5 + _LEADING * number))
        pen.text((left + letter, top), text, fill=colour, font=font)


def _wrap(text: str, font: _Font, width: int) -> list[str]:
    """A text in lines that have room."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_cut(line, font, width) for line in lines]


def shown_map(answer: Answer) -> tuple[str, np.ndarray] | None:
    """Which map is shown, float32 [h, w]: of maps by class, that of the first ranked."""
    found = answer.attention
    if found is None:
        return None
    if found.ndim == 2:
        return "", found
    first = answer.ranked()[0]
    names = [finding.name for finding in answer.findings]
    return first.name, found[..., names.index(first.name)]


def findings_lines(answer: Answer, looked: str, shown: str) -> Iterator[_Line]:
    """The findings, the highest above their thresholds first; texts with their colours.

    Args:
        answer: of the model.
        looked: class whose map is shown; empty: it is of no single one.
        shown: how, in a word.
    """
    yield NOT_FOR_DIAGNOSIS, _RED
    yield _RESEARCH, _RED
    yield f"{answer.model.name} version {answer.model.version}", _GRAY
    if looked:
        yield f"{shown}: where it looks for {looked}", _GRAY
    for note in answer.model.notes:
        yield note, _GRAY
    yield "", _GRAY
    for finding in answer.ranked():
        yield _line(finding), _AMBER if finding.positive else _WHITE
    if any(finding.positive for finding in answer.findings):
        yield "+ reaches the model's threshold", _AMBER


def _line(finding: Finding) -> str:
    limit = "" if finding.threshold is None else f" (threshold {finding.threshold:.3f})"
    return f"{'+' if finding.positive else '-'} {finding.name} {finding.probability:.3f}{limit}"


@cache
def _font(size: int) -> _Font:
    """Pillow's own, which it decodes anew each time it is asked."""
    return ImageFont.load_default(size)


def _label(pen: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, letter: int) -> None:
    """Below each picture, so that a cut-out says it too."""
    font = _font(letter)
    text = f"{NOT_FOR_DIAGNOSIS}: {_RESEARCH}"
    pen.text((corner[0] + letter, corner[1] + letter), _cut(text, font, width), _RED, font=font)


def _cut(text: str, font: _Font, width: int) -> str:
    """As much of a text as has room."""
    while text and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…" if len(text) > 2 else ""
    return text


def _fit(gray: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(gray.shape)
    size = max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, size, interpolation=how))


def _overlay(xray: np.ndarray, looked: np.ndarray) -> np.ndarray:
    """The X-ray under a map, which covers the square that has it in its middle."""
    side, (height, width) = max(xray.shape), xray.shape
    square = cv2.resize(looked.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    top, left = (side - height) // 2, (side - width) // 2
    part = square[top : top + height, left : left + width]
    low, high = float(part.min()), float(part.max())
    shares = (part - low) / ((high - low) or 1.0)
    heat = cv2.applyColorMap(np.uint8(255 * shares), cv2.COLORMAP_TURBO)[..., ::-1]
    gray = cv2.cvtColor(xray, cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(gray, 1 - _OPACITY, np.ascontiguousarray(heat), _OPACITY, 0))
