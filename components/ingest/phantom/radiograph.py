"""One study to one radiograph: chest, findings, pose, exposure, noise."""

from statistics import NormalDist

import cv2
import numpy as np

from cxrflow.components.ingest.phantom import anatomy, findings
from cxrflow.components.ingest.phantom.table import Study
from cxrflow.schema.classes import CLASSES_14

PIXELS = 1024
# Independent random streams of a patient (0 is the table's).
_TRAITS, _TISSUE, _IMAGE, _GRAIN_STREAM, _LESIONS, _SEVERITY = range(1, 7)
# Random byte -> 128 + normal noise of 5 grey levels: a look-up costs a tenth of drawing normals.
_GRAIN = np.array(
    [round(128 + 5 * NormalDist().inv_cdf((i + 0.5) / 256)) for i in range(256)], np.uint8
)

Boxes = dict[str, list[tuple[float, float, float, float]]]


def render(study: Study, seed: int, min_severity: float = 0.0) -> tuple[np.ndarray, Boxes]:
    """The radiograph, uint8 `[1024, 1024]`, and boxes by finding: x, y, width, height in pixels.

    Severities lie evenly between `min_severity` and 1: 0 is just visible. The same for the same
    study, seed and `min_severity`. Anatomy and lesions belong to the patient; breath,
    position, exposure, severity and noise to the image.
    """

    def stream(purpose: int, *index: int) -> np.random.Generator:
        return np.random.default_rng(
            np.random.SeedSequence(seed, spawn_key=(study.patient, purpose, *index))
        )

    image_rng = stream(_IMAGE, study.follow_up)
    chest = anatomy.sample_chest(stream(_TRAITS), image_rng, study.age, study.sex, study.view)
    present = [(name, CLASSES_14.index(name)) for name in study.findings]
    severity = {
        name: min_severity + (1 - min_severity) * stream(_SEVERITY, study.follow_up, i).random()
        for name, i in present
    }
    for name, i in present:
        findings.reshape(name, chest, stream(_LESIONS, i), severity[name])
    layers = anatomy.draw_chest(chest, stream(_TISSUE))
    seen = {
        name: findings.paint(name, layers, stream(_LESIONS, i), severity[name])
        for name, i in present
    }

    pose = _pose(image_rng)
    exposed = _expose(anatomy.compose(layers), image_rng)
    image = cv2.warpAffine(
        exposed, pose, (PIXELS, PIXELS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    image = _add_grain(image, stream(_GRAIN_STREAM, study.follow_up))
    _mark(image, study.view)
    return image, {name: [_to_pixels(box, pose) for box in places] for name, places in seen.items()}


def _pose(rng: np.random.Generator) -> np.ndarray:
    """Affine map `[2, 3]` from the grid to the image: a slight turn, shift, magnification."""
    middle = anatomy.SIZE / 2
    turn = cv2.getRotationMatrix2D(
        (middle, middle), rng.normal(0, 1.2), rng.uniform(0.95, 1.05) * PIXELS / anatomy.SIZE
    )
    turn[:, 2] = turn[:, 2] + (PIXELS - anatomy.SIZE) / 2 + rng.uniform(-0.02, 0.02, 2) * PIXELS
    return turn


def _expose(brightness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey levels, uint8, under the image's own exposure."""
    dark, light = rng.uniform(-0.02, 0.02), rng.uniform(0.95, 1.0)
    values = cv2.pow(np.clip((brightness - dark) / (light - dark), 0, 1), rng.uniform(0.9, 1.12))
    return np.round(values * 245).astype(np.uint8)


def _add_grain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Quantum noise, a little wider than a pixel."""
    raw = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
    return cv2.addWeighted(image, 1, cv2.GaussianBlur(cv2.LUT(raw, _GRAIN), (3, 3), 0.8), 1, -128)


def _mark(image: np.ndarray, view: str) -> None:
    """The side marker, the view where it is AP, and what this is."""
    cv2.putText(image, "L", (915, 110), cv2.FONT_HERSHEY_SIMPLEX, 1.6, 235, 5, cv2.LINE_AA)
    cv2.putText(image, "SYNTHETIC", (16, 1008), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 235, 1, cv2.LINE_AA)
    if view == "AP":
        cv2.putText(
            image, "AP PORTABLE", (16, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 235, 2, cv2.LINE_AA
        )


def _to_pixels(box: findings.Box, pose: np.ndarray) -> tuple[float, float, float, float]:
    """The rectangle around the posed box, cut to the image: x, y, width, height."""
    x0, y0, x1, y1 = (v * anatomy.SIZE for v in box)
    corners = np.array([(x0, y0, 1), (x1, y0, 1), (x0, y1, 1), (x1, y1, 1)]) @ pose.T
    low, high = np.clip(corners.min(axis=0), 0, PIXELS), np.clip(corners.max(axis=0), 0, PIXELS)
    return (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
