"""A map of shares drawn over a picture."""

import cv2
import numpy as np

_MAX_ALPHA = 0.6  # of full attention over the X-ray


def blend(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """A map over an X-ray, uint8 RGB [H, W, 3].

    Args:
        image: uint8 [H, W].
        attention: [h, w], in 0..1, spread over the whole image, each cell of one colour.
    """
    size = image.shape[1], image.shape[0]
    found = attention.astype(np.float32).clip(0, 1)
    share = cv2.resize(found, size, interpolation=cv2.INTER_NEAREST)[..., None]
    alpha = _MAX_ALPHA * share
    blended: np.ndarray = image[..., None] * (1 - alpha) + colours(share[..., 0]) * alpha
    return np.asarray(blended.round(), np.uint8)


def colours(shares: np.ndarray) -> np.ndarray:
    """0..1 -> uint8 RGB."""
    scaled = (255 * shares).round().astype(np.uint8)
    bgr = cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
