import numpy as np
import pytest

from cxrflow.components.train.augment import augment

pytestmark = pytest.mark.tf

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 1), np.uint8)
# Small squares in the upper left quarter.
MARK = np.zeros((6, 32, 32, 1), np.uint8)
MARK[:, 8:12, 4:8] = 200


def test_nothing_asked_nothing_changed():
    np.testing.assert_array_equal(augment(IMAGES, [1, 2]), IMAGES.astype(np.float32))


def test_the_seed_decides():
    options = {"rotation": 10.0, "shift": 0.1, "zoom": 0.1, "contrast": 0.2}
    once, again = augment(IMAGES, [1, 2], **options), augment(IMAGES, [1, 2], **options)
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - augment(IMAGES, [1, 3], **options)).mean() > 1
    assert np.abs(once - IMAGES).mean() > 1


def test_values_stay_in_range():
    changed = augment(IMAGES, [0, 0], contrast=0.9).numpy()
    assert changed.min() == 0
    assert changed.max() == 255


def centroid(images: np.ndarray) -> np.ndarray:
    """(row, column) of each image's brightness."""
    weight = images[..., 0] / images.sum(axis=(1, 2, 3))[:, None, None]
    place = np.arange(images.shape[1])
    return np.stack([(weight.sum(2) * place).sum(1), (weight.sum(1) * place).sum(1)], axis=1)


def test_shift_is_at_most_the_share_asked():
    moved = centroid(augment(MARK, [5, 5], shift=0.1).numpy()) - centroid(MARK)
    assert np.abs(moved).max() <= 3.2 + 1e-3
    assert np.abs(moved).max() > 0.5


def test_a_shift_alone_does_not_blur():
    moved = augment(IMAGES, [5, 5], shift=0.1).numpy()
    np.testing.assert_array_equal(moved, np.round(moved))
    assert np.abs(moved - IMAGES).mean() > 1


def test_rotation_and_zoom_are_about_the_centre():
    def radius(images):
        return np.linalg.norm(centroid(images) - 15.5, axis=1)

    turned = augment(MARK, [5, 5], rotation=20.0).numpy()
    np.testing.assert_allclose(radius(turned), radius(MARK), atol=0.1)
    zoomed = radius(augment(MARK, [5, 5], zoom=0.2).numpy()) / radius(MARK)
    assert zoomed.min() >= 1 / 1.2 - 0.01
    assert zoomed.max() <= 1 / 0.8 + 0.01
    assert np.ptp(zoomed) > 0.05


def test_a_flip_mirrors_about_half_and_only_when_asked():
    images = np.repeat(MARK[:1], 200, axis=0)
    flipped = augment(images, [3, 0], flip=True).numpy()
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (flipped == images).all(axis=(1, 2, 3))).all()
    assert 70 < mirrored.sum() < 130


@pytest.mark.parametrize("seed", range(5))
def test_left_stays_left(seed):
    changed = augment(MARK, [seed, 0], rotation=10.0, shift=0.05, zoom=0.1, contrast=0.1).numpy()
    assert (changed[:, :, :16].max(axis=(1, 2, 3)) > changed[:, :, 16:].max(axis=(1, 2, 3))).all()
