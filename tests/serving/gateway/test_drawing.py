"""What a key image shows."""

import numpy as np
import pytest

from cxrflow.serving.client.results import Answer, Finding, Model
from cxrflow.serving.gateway.drawing import draw, shown_map

SIDE = 300


def answer(names=("Mass", "Edema"), attention=None, notes=()) -> Answer:
    model = Model("cxrflow", 7, tuple(names), (0.5,) * len(names), notes=notes)
    findings = tuple(Finding(name, 0.4 + 0.2 * (i == 1), 0.5) for i, name in enumerate(names))
    return Answer("", model, findings, (200, 100), attention=attention)


def test_the_xray_keeps_its_shape_and_gray_levels():
    gray = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (100, 1))
    shown = draw(gray, answer(), SIDE)
    assert shown.dtype == np.uint8 and shown.shape[1] == SIDE + round(0.6 * SIDE)
    xray = shown[:150, :SIDE]
    assert (xray[..., 0] == xray[..., 2]).all()
    assert xray[75, 0, 0] == 0 and xray[75, -1, 0] == 255
    assert not shown[150:, :SIDE].any(axis=2).all()  # black below it, with words


def test_a_map_by_class_is_that_of_the_first_finding():
    maps = np.zeros((4, 4, 2), np.float32)
    maps[..., 1] = 1
    name, found = shown_map(answer(attention=maps))
    assert name == "Edema" and (found == 1).all()  # .6 of .5, before .4 of .5


def test_the_map_lies_over_the_square_around_the_xray():
    """A wide image has the square's middle half: the upper quarter is cut off."""
    maps = np.zeros((8, 8), np.float32)
    maps[0, :] = 100  # above the image
    maps[3, 3] = 1
    shown = draw(np.full((100, 200), 128, np.uint8), answer(attention=maps), SIDE)
    overlay = shown[:150, SIDE : 2 * SIDE].astype(int)
    red = overlay[..., 0] - overlay[..., 2]
    row, column = np.unravel_index(red.argmax(), red.shape)
    # Row 3 of 8 has its middle at 3.5/8 of the square, 75 pixels of 300 above the image.
    assert abs(row - (3.5 / 8 * 300 - 75)) < 20 and abs(column - 3.5 / 8 * 300) < 20


@pytest.mark.parametrize("shape", [(64, 4000), (4000, 64), (64, 64)])
def test_odd_shapes_are_drawn(shape):
    assert draw(np.zeros(shape, np.uint8), answer(), SIDE).shape[2] == 3


@pytest.mark.slow
def test_many_classes_and_long_names_have_an_end():
    names = [f"{i} {'long ' * 30}" for i in range(200)]
    shown = draw(np.zeros((100, 100), np.uint8), answer(names, notes=("x" * 500,)), SIDE)
    assert shown[: SIDE // 2, SIDE:].any()
