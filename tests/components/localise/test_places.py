"""Boxes, points and regions on the square, with values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrflow.components.localise import places
from cxrflow.components.localise.boxes import Box

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
LEFT = np.array([[0.0, 0.0, 0.5, 1.0]])


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1024, 1024, (0.25, 0.5, 0.5, 0.75)),
        (384, 384, (0.25, 0.5, 0.5, 0.75)),  # the list counts in the original's pixels
        # A flat image of half the height lies in the middle of the square.
        (100, 200, (0.25, 0.25 + 0.25, 0.5, 0.25 + 0.375)),
        (200, 100, (0.25 + 0.125, 0.5, 0.25 + 0.25, 0.75)),
    ],
)
def test_a_box_lies_in_the_letterboxed_square(height, width, expected):
    found = places.rectangle(Box("Mass", 256, 512, 256, 256), height, width)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    "box", [(-1, 0, 10, 10), (0, -0.5, 10, 10), (1020, 0, 5, 5), (0, 1000, 5, 25), (2000, 0, 5, 5)]
)
def test_a_box_that_leaves_its_image_is_none(box):
    assert places.rectangle(Box("Mass", *box), 384, 384) is None


def test_a_box_may_touch_the_edge():
    found = places.rectangle(Box("Mass", 0, 0, 1024, 1024), 384, 384)
    np.testing.assert_array_equal(found, WHOLE[0])


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        ([[0.9, 0.1], [0.1, 0.1]], 1),
        ([[0.1, 0.9], [0.1, 0.1]], 0),
        ([[0.9, 0.9], [0.1, 0.1]], 0.5),  # two places are the highest: one lies inside
        ([[0.3, 0.3], [0.3, 0.3]], 0.5),  # a flat map points everywhere
    ],
)
def test_pointing(attention, expected):
    assert places.pointing_hit(np.array(attention), LEFT) == expected


def test_a_map_outlines_its_bright_regions_at_each_intensity():
    attention = np.zeros((4, 4))
    attention[0, 0], attention[3, 2:] = 1, 0.5  # 255 and 127.5
    at_60 = [[0, 0, 0.25, 0.25], [0.5, 0.75, 1, 1]]
    found = places.outlined(attention, (60, 180))
    assert sorted(found.tolist()) == sorted([*at_60, [0, 0, 0.25, 0.25]])
    assert places.outlined(np.full((4, 4), 0.7), (60, 180)).shape == (0, 4)


def test_regions_that_touch_by_a_corner_are_one():
    attention = np.diag([1.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(places.outlined(attention, (60,)), [[0, 0, 0.5, 0.5]])


def test_iobb_is_the_share_of_the_predicted_box():
    predicted = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.9, 0.9, 1, 1]])
    true = np.array([[0, 0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]])
    np.testing.assert_allclose(
        places.overlaps(predicted, true), [[0.25, 0.25], [1, 0.25], [0, 0]], atol=1e-12
    )
    assert places.overlaps(np.empty((0, 4)), true).shape == (0, 2)


def test_shares():
    attention = np.array([[3.0, 1.0], [0.0, 0.0]])
    assert places.share_inside(attention, places.mask_of(LEFT, 2)) == 0.75
    assert np.isnan(places.share_inside(np.zeros((2, 2)), np.ones((2, 2), bool)))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0, 0.9), st.floats(0.01, 1)] * 2), max_size=5),
    st.integers(0, 99),
)
def test_moved_boxes_keep_their_size_and_stay_inside(boxes, seed):
    corners = [(x, y, min(x + w, 1), min(y + h, 1)) for x, w, y, h in boxes]
    before = np.array(corners).reshape(-1, 4)
    after = places.moved(before, np.random.default_rng(seed))
    np.testing.assert_allclose(after[:, 2:] - after[:, :2], before[:, 2:] - before[:, :2])
    assert (after >= -1e-9).all() and (after <= 1 + 1e-9).all()


def test_the_centre_prior_points_to_the_middle():
    prior = places.centre_prior(5)
    assert prior.argmax() == 12
    np.testing.assert_allclose(prior, prior.T)
    np.testing.assert_allclose(prior, prior[::-1, ::-1])


def test_the_body_is_the_largest_bright_region_with_its_lungs():
    image = np.zeros((200, 200), np.uint8)
    image[40:190, 40:160] = 180  # trunk
    image[70:150, 55:90] = image[70:150, 110:145] = 20  # lungs, as dark as the ground
    image[5:15, 170:195] = 255  # a marker
    found = places.body(image)
    assert found[60:170, 60:140].all()
    assert not found[:30].any() and not found[5:15, 170:195].any()
    assert places.body(np.zeros((50, 50), np.uint8)).all()  # nothing stands out


def test_a_mask_is_letterboxed_like_its_image():
    found = places.letterboxed(np.ones((50, 100), bool), 4)
    np.testing.assert_array_equal(found.all(axis=1), [False, True, True, False])
