"""Places on the square that a model sees: where a box lies, where a map points, what it outlines.

All coordinates are shares of the square's side, 0 to 1, x before y; a rectangle is
(left, top, right, bottom).
"""

import cv2
import numpy as np

from cxrflow.components.localise.boxes import SIDE, Box

_SIGMA = 0.25  # of the centre prior's Gaussian, share of the side
_BLUR = 0.02  # of an X-ray's side, before the body is told from the ground


def rectangle(box: Box, height: int, width: int) -> np.ndarray | None:
    """A box in the square that an X-ray is letterboxed into; None where it leaves the X-ray.

    The list's coordinates are of originals of 1024 × 1024 pixels, whatever size the X-ray has now.

    Args:
        box: as listed.
        height: of the X-ray, pixels.
        width: of the X-ray, pixels.

    Returns:
        float64 [4].
    """
    left, top = box.x / SIDE, box.y / SIDE
    right, bottom = (box.x + box.width) / SIDE, (box.y + box.height) / SIDE
    if left < 0 or top < 0 or right > 1 or bottom > 1:
        return None
    scale = np.array([width, height, width, height]) / max(height, width)
    return np.array([left, top, right, bottom]) * scale + np.tile((1 - scale[:2]) / 2, 2)


def pointing_hit(attention: np.ndarray, rectangles: np.ndarray) -> float:
    """Whether a map's highest cell has its centre in one of the rectangles (Zhang et al. 2018).

    Args:
        attention: [h, w], finite.
        rectangles: [B, 4].

    Returns:
        1 or 0; where several cells are the highest, the share of them that lie inside.
    """
    rows, columns = np.nonzero(attention == attention.max())
    height, width = attention.shape
    x, y = (columns + 0.5) / width, (rows + 0.5) / height
    return float(_inside(x[:, None], y[:, None], rectangles).any(axis=1).mean())


def share_inside(attention: np.ndarray, mask: np.ndarray) -> float:
    """The share of a map's sum that lies where a mask is true; NaN where the map is 0 throughout.

    Args:
        attention: [G, G], 0 or more.
        mask: bool [G, G].
    """
    total = float(attention.sum())
    return float(attention[mask].sum()) / total if total > 0 else float("nan")


def fine(attention: np.ndarray, grid: int) -> np.ndarray:
    """A map [h, w] brought to [grid, grid] by linear interpolation, float32."""
    found = cv2.resize(attention.astype(np.float32), (grid, grid), interpolation=cv2.INTER_LINEAR)
    return np.asarray(found)


def mask_of(rectangles: np.ndarray, grid: int) -> np.ndarray:
    """The pixels of a grid whose centres lie in one of the rectangles, bool [grid, grid]."""
    centres = (np.arange(grid) + 0.5) / grid
    found = _inside(centres[None, :, None], centres[:, None, None], rectangles)
    return np.asarray(found.any(axis=2))


def outlined(attention: np.ndarray, intensities: tuple[int, ...]) -> np.ndarray:
    """The boxes around a map's bright regions, as Wang et al. (CVPR 2017, section 4) find them.

    The map is stretched to 0 to 255; at each intensity, every region at least as bright, told
    apart by eight neighbours, gives one box.

    Args:
        attention: [G, G], finite.
        intensities: of 255.

    Returns:
        float64 [P, 4]; none where the map is flat.
    """
    low, high = float(attention.min()), float(attention.max())
    if high <= low:
        return np.empty((0, 4))
    stretched = (attention - low) * (255 / (high - low))
    height, width = attention.shape
    found = []
    for intensity in intensities:
        bright = (stretched >= intensity).astype(np.uint8)
        _, _, regions, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
        for left, top, columns, rows, _ in regions[1:]:  # the first is the ground
            found.append([left, top, left + columns, top + rows])
    return np.array(found, np.float64).reshape(-1, 4) / [width, height, width, height]


def overlaps(predicted: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """IoBB: the share of each predicted box that lies in each rectangle, [P, B]."""
    sides = np.minimum(predicted[:, None, 2:], rectangles[None, :, 2:]) - np.maximum(
        predicted[:, None, :2], rectangles[None, :, :2]
    )
    areas = np.prod(predicted[:, 2:] - predicted[:, :2], axis=1)
    return np.asarray(np.prod(sides.clip(0), axis=2) / areas[:, None])


def moved(predicted: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Moves each box of [P, 4] to a place drawn evenly from those that the square has for it."""
    sides = predicted[:, 2:] - predicted[:, :2]
    starts = random.random(sides.shape) * (1 - sides)
    return np.concatenate([starts, starts + sides], axis=1)


def centre_prior(cells: int) -> np.ndarray:
    """A map [cells, cells] that knows no X-ray: a Gaussian in the middle of the square."""
    distances = (np.arange(cells) + 0.5) / cells - 0.5
    along = np.exp(-(distances**2) / (2 * _SIGMA**2))
    return np.asarray(along[:, None] * along[None, :])


def body(pixels: np.ndarray) -> np.ndarray:
    """Where the body is on an X-ray, bool [H, W]: its largest bright region with what it encloses.

    Brightness is told by half of Otsu's threshold (1979), since soft tissue beside bone is dark,
    and the ground that a collimator leaves is darker still.

    Args:
        pixels: uint8 [H, W].

    Returns:
        All of the X-ray where nothing stands out.
    """
    blur = max(1, round(_BLUR * max(pixels.shape)) | 1)
    smooth = cv2.GaussianBlur(pixels, (blur, blur), 0)
    threshold, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = (smooth > threshold / 2).astype(np.uint8)
    _, names, regions, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    if len(regions) < 2:
        return np.ones(pixels.shape, bool)
    largest = (names == 1 + int(np.argmax(regions[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    outlines, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(largest, outlines, -1, 1, cv2.FILLED)) > 0


def letterboxed(mask: np.ndarray, grid: int) -> np.ndarray:
    """A mask of an X-ray, bool [H, W], on the square that it is letterboxed into, [grid, grid]."""
    height, width = mask.shape
    side = max(height, width)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = mask
    return np.asarray(cv2.resize(square, (grid, grid), interpolation=cv2.INTER_NEAREST)) > 0


def _inside(x: np.ndarray, y: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    left, top, right, bottom = rectangles.T
    return np.asarray((left <= x) & (x <= right) & (top <= y) & (y <= bottom))
