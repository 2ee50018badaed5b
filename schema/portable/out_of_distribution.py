"""How unlike the training X-rays an image is, computed alike in the pipeline and on the device.

An image is summed up over a grid of cells by how bright each is, how much it varies, and how much
it changes from pixel to pixel along rows and columns. The score is the squared Mahalanobis distance
of these features from the training images' (Mahalanobis 1936; for networks Lee et al. 2018, arXiv
1807.03888). They are of pixels, not of a network's layers, so that every runtime and every way of
storing weights gives the same score. A model's graph computes it with TensorFlow's operations, see
components/model/out_of_distribution.py.

NumPy only, and imports none of its neighbours: the device has it as a copied file.
"""

import zipfile
from typing import NamedTuple

import numpy as np

FILE = "out_of_distribution.npz"  # beside model.json, in a SavedModel and in a bundle
STATISTICS = 4  # of a cell
LEAST = 0.1  # gray levels added before a logarithm: the spread of a blank cell is 0
_WHITE = 255.0


class Detector(NamedTuple):
    """What was fitted on training images."""

    grid: int  # cells along each side
    center: np.ndarray  # float32 [K], K = grid * grid * STATISTICS: the mean of their features
    whitening: np.ndarray  # float32 [K, K]: W with (x - center) W of unit covariance

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Scores float32 [N], 0 and up, near K as a rule, of gray images uint8 [N, S, S]."""
        return self.distances(features(pixels, self.grid))

    def distances(self, found: np.ndarray) -> np.ndarray:
        """Returns the scores, float32 [N], of images' `features` [N, K]."""
        apart = (found - self.center) @ self.whitening
        return np.asarray(np.sum(apart * apart, axis=1))


def features(pixels: np.ndarray, grid: int) -> np.ndarray:
    """Returns float32 [N, grid * grid * STATISTICS] of gray images [N, S, S], 0 to 255, S > grid.

    Each cell, row by row, has its mean in 0..1, and the logarithms of its standard deviation and of
    its mean steps to the next pixel on the right and below, in gray levels.
    """
    size = pixels.shape[1]
    whole, steps = cells(size, grid), cells(size - 1, grid)
    inside = (whole > 0).astype(np.float32)
    found = np.empty((len(pixels), grid, grid, STATISTICS), np.float32)
    for one, image in zip(found, pixels):  # one by one: memory of one
        gray = image.astype(np.float32)
        mean = whole @ gray @ whole.T
        apart = gray - inside.T @ mean @ inside
        one[..., 0] = mean / _WHITE
        one[..., 1] = np.log(np.sqrt(whole @ (apart * apart) @ whole.T) + LEAST)
        one[..., 2] = np.log(whole @ np.abs(np.diff(gray, axis=1)) @ steps.T + LEAST)
        one[..., 3] = np.log(steps @ np.abs(np.diff(gray, axis=0)) @ whole.T + LEAST)
    return found.reshape(len(pixels), -1)


def cells(size: int, grid: int) -> np.ndarray:
    """The matrix float32 [grid, size] that averages `size` values over `grid` equal pieces."""
    ends = [i * size // grid for i in range(grid + 1)]
    found = np.zeros((grid, size), np.float32)
    for row, start, end in zip(found, ends, ends[1:]):
        row[start:end] = 1.0 / (end - start)
    return found


def read_detector(path: str) -> Detector:
    """What `write_detector` wrote. Raises OSError, or ValueError if the file is another."""
    try:
        with np.load(path) as archive:
            grid, center, whitening = (archive[name] for name in Detector._fields)
        found = Detector(int(grid), center, whitening)
    except (KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} can't be read: {error}") from None
    count = found.grid * found.grid * STATISTICS
    for values, shape in ((center, (count,)), (whitening, (count, count))):
        if values.shape != shape or values.dtype != np.float32 or not np.isfinite(values).all():
            raise ValueError(f"{path} doesn't hold what its grid of {found.grid} cells needs")
    return found


def write_detector(path: str, detector: Detector) -> None:
    """Writes the three as an .npz file."""
    np.savez(path, grid=detector.grid, center=detector.center, whitening=detector.whitening)
