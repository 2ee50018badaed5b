"""What is flagged as no chest X-ray like the training's: photographs, other body parts, turned and
inverted X-rays, and X-rays of patients that nothing was fitted on.

All is of ../shared/data and of packages that are installed, in the form that nih_mini's models see.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrflow.components.edge.device import EDGE, PORTABLE
from cxrflow.components.model.settings import OutOfDistributionConfig
from cxrflow.schema.image_rules import ImageLimits
from tests.bench.figure import SHARED, figure, skipped

CONFIG = OutOfDistributionConfig()
SIDE = 224  # pixels, of nih_mini's networks
PARTITIONS = 5  # of the patients
FIT, EVAL = 0.5, 0.2  # of the patients; the rest are unseen
EVERY = 3  # of the X-rays, those that are turned and inverted
BODY_PARTS = ("RG2_J2KR", "RG3_J2KR", "MG1_J2KI", "CT1_J2KR")
SLICES = ("CT_small", "MR_small")  # of pydicom's own test files


def main() -> Iterator[dict[str, Any]]:
    """Yields the shares that are flagged, a mean over partitions of the patients."""
    data = SHARED / "data"
    if not data.is_dir():
        yield skipped("out of distribution", f"no {data}")
        return
    table = pd.read_csv(data / "nih-mini" / "Data_Entry_2017.csv")
    files = [data / "nih-mini" / "images" / name for name in table["Image Index"]]
    xrays = _seen([path.read_bytes() for path in files])
    some = xrays[::EVERY]
    cases = {
        "other images": _seen(list(_other_images(data / "dicom"))),
        "turned by 90 degrees": np.rot90(some, 1, (1, 2)),
        "turned by 180 degrees": np.rot90(some, 2, (1, 2)),
        "inverted": 255 - some,
    }
    patients, found = table["Patient ID"].to_numpy(), _features({"all": xrays, **cases})
    shares = pd.DataFrame(_shares(found, patients, seed) for seed in range(PARTITIONS))
    mean, counts = shares.mean(), {name: len(images) for name, images in cases.items()}

    def worst(name: str) -> float:
        return round(float(shares[name].min()), 4)

    unseen = float(mean["unseen"])
    yield figure(
        "share of unseen patients' chest X-rays flagged out of distribution",
        unseen,
        "<= .05",
        unseen <= 0.05,
        most=round(float(shares["unseen"].max()), 4),
        partitions=PARTITIONS,
    )
    for name in cases:
        goal = 0.95 if name == "other images" else 0.8
        share = float(mean[name])
        yield figure(
            f"share of {name} flagged out of distribution",
            share,
            f">= {goal}",
            share >= goal,
            least=worst(name),
            images=counts[name],
        )


def _features(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from cxrflow.schema.portable.out_of_distribution import features

    return {name: features(each, CONFIG.grid) for name, each in images.items()}


def _shares(found: Mapping[str, np.ndarray], patients: np.ndarray, seed: int) -> dict[str, float]:
    """Which shares are flagged by a detector of some patients with a threshold of others."""
    from cxrflow.components.train.out_of_distribution import fit_detector, threshold_of

    names = np.random.default_rng(seed).permutation(np.unique(patients))
    ends = np.round(np.array([FIT, FIT + EVAL]) * len(names)).astype(int)
    train, evaluation, unseen = (np.isin(patients, part) for part in np.split(names, ends))
    detector = fit_detector(found["all"][train], CONFIG.grid)
    scores = {name: detector.distances(each) for name, each in found.items()}
    threshold = threshold_of(scores["all"][evaluation], CONFIG.quantile)
    flagged = {"unseen": float((scores.pop("all")[unseen] > threshold).mean())}
    for name, each in scores.items():
        kept = each if name == "other images" else each[unseen[::EVERY]]
        flagged[name] = float((kept > threshold).mean())
    return flagged


def _seen(encoded: list[bytes]) -> np.ndarray:
    """What the network sees of PNGs and JPEGs, uint8 [N, S, S]: as the device makes it of them."""
    sys.path[:0] = [str(EDGE), str(PORTABLE)]  # the device's scripts import each other by name
    images, bundle = (importlib.import_module(name) for name in ("images", "bundle"))
    limits = ImageLimits()
    how = bundle.Preprocessing(
        384, "jpeg", 95, SIDE, limits.min_side, limits.max_side, limits.max_bytes
    )  # nih_mini's
    return np.stack([images.prepare(data, how) for data in encoded])


def _other_images(dicom: Path) -> Iterator[bytes]:
    """Encoded images that show no chest."""
    import cv2

    for gray in (*_photographs(), *_patterns(), *_body_parts(dicom)):
        yield cv2.imencode(".png", gray)[1].tobytes()


def _photographs() -> Iterator[np.ndarray]:
    """Five and their quarters, and twenty handwritten digits."""
    import cv2
    import matplotlib
    import sklearn.datasets

    colour = sklearn.datasets.load_sample_images().images
    images = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in colour]
    folder = Path(matplotlib.get_data_path(), "sample_data")
    for name in ("grace_hopper.jpg", "Minduka_Present_Blue_Pack.png", "logo2.png"):
        images.append(cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE))
    for image in images:
        height, width = (side // 2 for side in image.shape)
        yield image
        for top in (0, height):
            for left in (0, width):
                yield image[top : top + height, left : left + width]
    for digit in sklearn.datasets.load_digits().images[:20]:
        yield cv2.resize((digit / 16 * 255).astype(np.uint8), (SIDE, SIDE))


def _patterns() -> Iterator[np.ndarray]:
    """Blank images, slopes, a disc, noise from fine to coarse."""
    import cv2

    random = np.random.default_rng(0)
    for level in (0, 64, 128, 200, 255):
        yield np.full((SIDE, SIDE), level, np.uint8)
    slope = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
    yield from (slope, slope.T.copy(), slope[:, ::-1].copy())
    yield cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (SIDE // 2, SIDE // 2), SIDE // 3, 200, -1)
    yield random.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    for blur in (1, 2, 4, 8, 16):
        noise = cv2.GaussianBlur(random.normal(size=(SIDE, SIDE)), (0, 0), blur)
        yield cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _body_parts(folder: Path) -> Iterator[np.ndarray]:
    """A hip, an extremity, a breast and a CT slice, whole, halved and mirrored; more slices."""
    import cv2
    import pydicom

    from cxrflow.schema.dicom.limits import DicomLimits
    from cxrflow.schema.dicom.render import read_dicom

    def read(path: Path) -> np.ndarray:
        png = read_dicom(path, ImageLimits(), DicomLimits()).png
        return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)

    for name in BODY_PARTS:
        image = read(folder / name)
        half = len(image) // 2
        yield from (image, image[:half], image[half:], image[:, ::-1])
    more = Path(pydicom.__file__).parent / "data" / "test_files"
    yield from (read(more / f"{name}.dcm") for name in SLICES)
