"""Where a network looks: how its answer changes when a part of the image is covered.

Zeiler and Fergus 2014 (arXiv 1311.2901). It needs no more of a network than its answers, so that it
is the same for every engine and variant.
"""

from typing import Callable

import numpy as np
from PIL import Image

CELLS = 8  # a side; an answer each
_STRENGTH = 0.6  # of the colours over the image, 0 to 1


def occlusion_map(
    run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, index: int, cells: int = CELLS
) -> np.ndarray:
    """What each part of an image adds to the probability of a class.

    Args:
        run: gray uint8 [n, S, S] to probabilities [n, C], as `engines.Engine.run`.
        pixels: gray uint8 [S, S], as `images.prepare` gives.
        index: of the class.
        cells: parts a side, 1 to S; the map costs cells^2 + 1 answers.

    Returns:
        float32 [cells, cells]: the probability less the one with this cell in the image's mean
        gray. Above 0 the cell speaks for the finding, below 0 against it.
    """
    edges = np.linspace(0, len(pixels), cells + 1).round().astype(int)
    covered = np.repeat(pixels[None], cells * cells + 1, axis=0)
    gray = round(float(pixels.mean()))
    for cell in range(cells * cells):
        row, column = divmod(cell, cells)
        covered[cell, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = gray
    answers = run(covered)[:, index].astype(np.float32)
    return (answers[-1] - answers[:-1]).reshape(cells, cells)


def overlay(pixels: np.ndarray, found: np.ndarray) -> Image.Image:
    """An image with a map over it: red speaks for the finding, blue against it.

    The strongest cell has the full colour, whatever its value. A map of zeros colours nothing.
    """
    size = (pixels.shape[1], pixels.shape[0])
    largest = float(np.abs(found).max())
    scaled = (found / largest if largest else found).astype(np.float32)
    cubic = Image.BICUBIC  # type: ignore[attr-defined]  # the device's Pillow has no Resampling
    smooth = np.asarray(Image.fromarray(scaled).resize(size, cubic)).clip(-1, 1)
    colour = np.zeros((*pixels.shape, 3), np.float32)
    colour[..., 0] = 255 * (smooth > 0)
    colour[..., 2] = 255 * (smooth < 0)
    share = _STRENGTH * np.abs(smooth)[..., None]
    mixed = (1 - share) * pixels[..., None] + share * colour
    return Image.fromarray(mixed.round().astype(np.uint8))
